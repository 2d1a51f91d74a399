import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useMatches, useNavigate, useRouterState } from "@tanstack/react-router";
import { CircleHelp, LogOut, Menu as MenuIcon, Monitor, Moon, Search, Sun } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { call, client } from "@/api/client";
import type { AlertEvent } from "@/api/live";
import { alertsQuery, meQuery } from "@/api/queries";
import { useEventStream, useStreamState } from "@/api/stream";
import { useCrumb } from "@/lib/crumb";
import { cx } from "@/lib/cx";
import { compact } from "@/lib/format";
import { useHotkeys } from "@/lib/hotkeys";
import { includes } from "@/lib/session";
import { type Theme, useTheme } from "@/lib/theme";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Keys } from "@/ui/keys";
import { SeverityMark } from "@/ui/marks";
import { Menu, MenuItem, MenuLabel, MenuLine, MenuLink } from "@/ui/menu";
import { Tip } from "@/ui/tip";
import { toast, Toasts } from "@/ui/toast";
import { Help } from "./help";
import { Logo } from "./logo";
import { mainPlaces, type Place, places } from "./nav";
import { Palette } from "./palette";

/** Everything around a page for someone who is signed in. */
export function Shell() {
  const navigate = useNavigate();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const [drawerAt, setDrawerAt] = useState<string | null>(null);
  const pathname = useRouterState({ select: (state) => state.location.pathname });
  const main = useRef<HTMLElement>(null);
  // Open on the page it was opened on: going somewhere closes it.
  const drawer = drawerAt === pathname;

  useEventStream(
    useCallback((alert: AlertEvent) => {
      if (alert.severity === "critical" || alert.severity === "high") {
        toast(
          <span className="flex items-start gap-2">
            <SeverityMark severity={alert.severity} bare />
            {alert.message}
          </span>,
        );
      }
    }, []),
  );

  // A new page starts at its top, for eyes and for screen readers.
  const firstPath = useRef(pathname);
  useEffect(() => {
    if (firstPath.current === pathname) return;
    firstPath.current = pathname;
    main.current?.focus({ preventScroll: true });
  }, [pathname]);

  const goKeys = useMemo(
    () =>
      Object.fromEntries(
        places.flatMap((group) =>
          group.items.flatMap((item) => (item.keys ? [[item.keys, () => navigate({ to: item.to })]] : [])),
        ),
      ),
    [navigate],
  );
  useHotkeys({
    ...goKeys,
    "mod+k": () => setPalette(true),
    "?": () => setHelp(true),
    "/": () => {
      const box = document.querySelector<HTMLInputElement>("[data-search]");
      if (box) box.focus();
      else setPalette(true);
    },
  });

  return (
    <div className="flex min-h-dvh">
      <a
        href="#main"
        className="fixed top-1 left-1 z-50 -translate-y-16 rounded-md bg-ink px-3 py-1.5 text-paper focus:translate-y-0"
      >
        Skip to the page
      </a>
      <aside className="sticky top-0 hidden h-dvh w-52 shrink-0 flex-col border-r border-line md:flex">
        <Link
          to="/"
          className="flex h-13 items-center gap-2.5 px-4 text-[1.0625rem] font-bold tracking-[-0.01em]"
        >
          <Logo className="size-6" />
          Portreeve
        </Link>
        <nav aria-label="Main" className="min-h-0 flex-1 overflow-y-auto px-2 pb-3">
          <NavList />
        </nav>
      </aside>
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="sticky top-0 z-20 flex h-13 items-center gap-2 border-b border-line bg-paper px-3 md:px-5">
          <Link to="/" aria-label="Portreeve, dashboard" className="md:hidden">
            <Logo className="size-6" />
          </Link>
          <Crumbs />
          <div className="ml-auto flex items-center gap-1.5">
            <LiveMark />
            <button
              type="button"
              onClick={() => setPalette(true)}
              className="hidden h-8 w-60 items-center gap-2 rounded-md border border-line-strong bg-raised px-2.5 text-ink-3 hover:text-ink lg:flex"
            >
              <Search className="size-4" aria-hidden />
              <span className="flex-1 text-left">Search or go to</span>
              <Keys keys="mod+k" />
            </button>
            <IconButton
              label="Search or go to"
              keys="mod+k"
              className="lg:hidden"
              onClick={() => setPalette(true)}
            >
              <Search className="size-4" aria-hidden />
            </IconButton>
            <IconButton
              label="Keyboard shortcuts"
              keys="?"
              className="max-md:hidden"
              onClick={() => setHelp(true)}
            >
              <CircleHelp className="size-4" aria-hidden />
            </IconButton>
            <UserMenu />
          </div>
        </header>
        <main
          id="main"
          ref={main}
          tabIndex={-1}
          className="mx-auto w-full max-w-[88rem] flex-1 px-3 pt-5 pb-24 outline-none md:px-6 md:pb-8"
        >
          <Outlet />
        </main>
      </div>
      <nav
        aria-label="Main, short"
        className="fixed inset-x-0 bottom-0 z-20 flex border-t border-line bg-panel pb-[env(safe-area-inset-bottom)] md:hidden"
      >
        {mainPlaces.map((place) => (
          <Link
            key={place.to}
            to={place.to}
            activeOptions={{ exact: place.to === "/" }}
            className="relative flex h-14 flex-1 flex-col items-center justify-center gap-0.5 text-xs text-ink-2"
            activeProps={{ className: "font-semibold text-ink! shadow-[inset_0_2px_0_var(--mark)]" }}
          >
            <place.icon className="size-5" aria-hidden />
            {place.label}
            {place.to === "/alerts" && <AlertCount className="absolute top-1 left-[calc(50%+0.4rem)]" />}
          </Link>
        ))}
        <button
          type="button"
          className="flex h-14 flex-1 flex-col items-center justify-center gap-0.5 text-xs text-ink-2"
          onClick={() => setDrawerAt(pathname)}
        >
          <MenuIcon className="size-5" aria-hidden />
          More
        </button>
      </nav>
      {drawer && (
        <Dialog title="Go to" side onClose={() => setDrawerAt(null)}>
          <nav aria-label="All pages">
            <NavList />
          </nav>
        </Dialog>
      )}
      {palette && <Palette onClose={() => setPalette(false)} />}
      {help && <Help onClose={() => setHelp(false)} />}
      <Toasts />
    </div>
  );
}

function NavList() {
  const { data: me } = useQuery(meQuery);
  return places.map((group) => {
    const items = group.items.filter((item) => !item.role || includes(me?.role, item.role));
    return (
      <div key={group.label} className="mt-3 first:mt-1">
        <h2 className="label px-2 pb-1">{group.label}</h2>
        <ul>
          {items.map((item) => (
            <li key={item.to}>
              <NavLink place={item} />
            </li>
          ))}
        </ul>
      </div>
    );
  });
}

function NavLink({ place }: { place: Place }) {
  const look =
    "relative flex h-8 items-center gap-2.5 rounded-md px-2 text-ink-2 hover:bg-water-2 hover:text-ink";
  const inside = (
    <>
      <place.icon className="size-4 shrink-0" aria-hidden />
      <span className="flex-1">{place.label}</span>
      {place.to === "/alerts" && <AlertCount />}
    </>
  );
  if (place.external) {
    return (
      <a href={place.to} className={look} target="_blank" rel="noreferrer">
        {inside}
      </a>
    );
  }
  return (
    <Link
      to={place.to}
      activeOptions={{ exact: place.to === "/", includeSearch: false }}
      className={look}
      activeProps={{
        className:
          "bg-water text-ink! font-semibold before:absolute before:inset-y-1.5 before:-left-2 before:w-[3px] before:rounded-full before:bg-mark",
      }}
    >
      {inside}
    </Link>
  );
}

function AlertCount({ className }: { className?: string }) {
  const { data } = useQuery({ ...alertsQuery({ needs_attention: true, limit: 1 }), staleTime: 15_000 });
  if (!data?.total) return null;
  return (
    <span
      className={cx(
        "figures min-w-5 rounded-full bg-critical-wash px-1.5 text-center text-xs leading-4.5 text-critical",
        className,
      )}
    >
      {compact(data.total)}
      <span className="sr-only"> open</span>
    </span>
  );
}

function Crumbs() {
  const above = useMatches().at(-1)?.staticData.above ?? [];
  const title = useCrumb();
  return (
    <nav aria-label="Breadcrumb" className="min-w-0">
      <ol className="flex min-w-0 items-center gap-1.5 text-sm">
        {above.map((place) => (
          <li
            key={place.label}
            className={cx(
              "flex items-center gap-1.5 whitespace-nowrap text-ink-2",
              !place.to && "max-sm:hidden",
            )}
          >
            {place.to ? (
              <Link to={place.to} className="hover:text-ink hover:underline">
                {place.label}
              </Link>
            ) : (
              place.label
            )}
            <span aria-hidden className="text-ink-3">
              /
            </span>
          </li>
        ))}
        <li aria-current="page" className="truncate font-semibold">
          {title}
        </li>
      </ol>
    </nav>
  );
}

function LiveMark() {
  const state = useStreamState();
  const look = {
    connecting: { text: "Connecting", dot: "bg-line-strong", tip: "Connecting to the server's live events." },
    live: { text: "Live", dot: "bg-good", tip: "What you see changes as it happens." },
    lost: {
      text: "Not live",
      dot: "bg-critical",
      tip: "The connection to the server is lost. It is tried again by itself; what you see may be old.",
    },
  }[state];
  return (
    <Tip text={look.tip}>
      <output
        className={cx(
          "flex h-8 items-center gap-1.5 rounded-md px-2 text-sm",
          state === "lost" ? "bg-critical-wash text-critical" : "text-ink-2",
        )}
      >
        <span
          className={cx(
            "size-2",
            look.dot,
            state === "lost" ? "rounded-none" : "rounded-full",
            state === "connecting" && "pulse-mark",
          )}
          aria-hidden
        />
        <span className={cx(state === "live" && "max-sm:sr-only")}>{look.text}</span>
      </output>
    </Tip>
  );
}

const themes: { value: Theme; label: string; icon: typeof Sun }[] = [
  { value: "light", label: "Light", icon: Sun },
  { value: "dark", label: "Dark", icon: Moon },
  { value: "system", label: "As the system", icon: Monitor },
];

function UserMenu() {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  const [theme, setTheme] = useTheme();
  if (!me) return null;
  const logout = async () => {
    await call(client.POST("/api/auth/logout"));
    queries.clear();
    await navigate({ to: "/login" });
  };
  return (
    <Menu
      trigger={
        <Button
          kind="quiet"
          aria-label={`${me.email.slice(0, 2)}, account of ${me.email}`}
          className="max-w-48"
        >
          <span
            className="grid size-6 place-items-center rounded-full bg-water text-xs font-bold text-ink uppercase"
            aria-hidden
          >
            {me.email.slice(0, 2)}
          </span>
        </Button>
      }
    >
      <MenuLabel>
        <span className="block text-sm text-ink foreign">{me.email}</span>
        {me.role}
      </MenuLabel>
      <MenuLine />
      {themes.map((entry) => (
        <MenuItem
          key={entry.value}
          onSelect={() => {
            setTheme(entry.value);
            void call(client.PUT("/api/auth/me", { body: { theme_preference: entry.value } })).catch(
              () => undefined,
            );
          }}
          icon={<entry.icon className="size-4 text-ink-2" aria-hidden />}
        >
          <span className="flex-1">{entry.label}</span>
          {theme === entry.value && (
            <>
              <span className="size-1.5 rounded-full bg-mark" aria-hidden />
              <span className="sr-only">(chosen)</span>
            </>
          )}
        </MenuItem>
      ))}
      <MenuLine />
      <MenuLink>
        <Link to="/account">Password, sessions, keys</Link>
      </MenuLink>
      <MenuItem onSelect={() => void logout()} icon={<LogOut className="size-4 text-ink-2" aria-hidden />}>
        Sign out
      </MenuItem>
    </Menu>
  );
}
