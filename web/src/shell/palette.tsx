import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Network, Search, Server, Unplug } from "lucide-react";
import { type ReactNode, useDeferredValue, useEffect, useId, useRef, useState } from "react";
import { call, client } from "@/api/client";
import { meQuery, networksQuery } from "@/api/queries";
import { cx } from "@/lib/cx";
import { isIpv4, isIpv6 } from "@/lib/ports";
import { portRange } from "@/lib/search";
import { includes } from "@/lib/session";
import { Keys } from "@/ui/keys";
import { places } from "./nav";

interface Entry {
  id: string;
  group: string;
  icon: ReactNode;
  label: string;
  note?: string;
  keys?: string | undefined;
  go: () => unknown;
}

/** Search over pages, networks and hosts; Enter goes there. */
export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const entries = useEntries(text.trim());
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  const active = Math.min(at, entries.length - 1);

  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  useEffect(() => {
    document.getElementById(`${id}-${active}`)?.scrollIntoView({ block: "nearest" });
  }, [active, id]);

  const go = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.go();
  };
  return (
    <dialog
      ref={ref}
      aria-label="Search or go to"
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === ref.current && onClose()}
      className="mx-auto mt-[12dvh] mb-auto max-h-[70dvh] w-[calc(100vw-1.5rem)] max-w-xl flex-col rounded-lg border border-line-strong bg-raised p-0 open:flex"
    >
      <div className="flex items-center gap-2.5 border-b border-line px-3.5">
        <Search className="size-4 shrink-0 text-ink-3" aria-hidden />
        <input
          role="combobox"
          aria-expanded="true"
          aria-controls={`${id}-list`}
          aria-activedescendant={entries.length > 0 ? `${id}-${active}` : undefined}
          aria-label="Page, network, host, address or port"
          placeholder="Page, network, host, address or port"
          className="h-12 min-w-0 flex-1 bg-transparent text-base outline-none"
          value={text}
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => {
            setText(event.target.value);
            setAt(0);
          }}
          onKeyDown={(event) => {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
            if (step) {
              event.preventDefault();
              setAt((active + step + entries.length) % Math.max(1, entries.length));
            } else if (event.key === "Enter") {
              event.preventDefault();
              go(entries[active]);
            }
          }}
        />
        <Keys keys="Escape" />
      </div>
      {entries.length === 0 && <p className="px-4 py-6 text-ink-2">Nothing is called “{text}”.</p>}
      <div
        id={`${id}-list`}
        role="listbox"
        aria-label="Results"
        className={cx("min-h-0 overflow-y-auto p-1.5", entries.length === 0 && "hidden")}
      >
        {entries.map((entry, index) => (
          <div key={entry.id} role="presentation">
            {entry.group !== entries[index - 1]?.group && (
              <div className="label px-2 pt-2 pb-1" role="presentation">
                {entry.group}
              </div>
            )}
            {/* oxlint-disable-next-line jsx-a11y/click-events-have-key-events -- keys are handled by the input */}
            <div
              id={`${id}-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === active}
              onMouseMove={() => setAt(index)}
              onClick={() => go(entry)}
              className={cx(
                "flex min-h-9 cursor-pointer items-center gap-2.5 rounded-md px-2",
                index === active && "bg-water",
              )}
            >
              <span className="text-ink-3">{entry.icon}</span>
              <span className="min-w-0 flex-1 truncate">
                {entry.label}
                {entry.note && <span className="figures ml-2 text-ink-3">{entry.note}</span>}
              </span>
              {entry.keys && <Keys keys={entry.keys} />}
            </div>
          </div>
        ))}
      </div>
    </dialog>
  );
}

function useEntries(text: string): Entry[] {
  const navigate = useNavigate();
  const search = useDeferredValue(text.toLowerCase());
  const { data: me } = useQuery(meQuery);
  const { data: networks } = useQuery(networksQuery);
  const { data: hosts } = useQuery({
    queryKey: ["hosts", "palette", search],
    queryFn: () => call(client.GET("/api/hosts", { params: { query: { ip_search: search, limit: 8 } } })),
    enabled: search.length > 0,
    staleTime: 30_000,
  });
  const has = (...words: (string | null | undefined)[]) =>
    words.some((word) => word?.toLowerCase().includes(search));

  const pages: Entry[] = places.flatMap((group) =>
    group.items
      .filter((item) => (!item.role || includes(me?.role, item.role)) && has(item.label))
      .map((item) => ({
        id: item.to,
        group: "Pages",
        icon: <item.icon className="size-4" aria-hidden />,
        label: item.label,
        keys: item.keys,
        go: () => (item.external ? window.open(item.to, "_blank", "noreferrer") : navigate({ to: item.to })),
      })),
  );
  if (search === "") return pages;
  const found: Entry[] = (networks ?? [])
    .filter((network) => has(network.name, network.cidr))
    .slice(0, 6)
    .map((network) => ({
      id: `network-${network.id}`,
      group: "Networks",
      icon: <Network className="size-4" aria-hidden />,
      label: network.name,
      note: network.cidr,
      go: () => navigate({ to: "/networks/$networkId", params: { networkId: String(network.id) } }),
    }));
  for (const host of hosts?.hosts ?? []) {
    found.push({
      id: `host-${host.id}`,
      group: "Hosts",
      icon: <Server className="size-4" aria-hidden />,
      label: host.hostname ?? host.ip,
      ...(host.hostname ? { note: host.ip } : {}),
      go: () => navigate({ to: "/hosts/$hostId", params: { hostId: String(host.id) } }),
    });
  }
  return [...shortcuts(text, navigate), ...found, ...pages];
}

/** What is typed is itself a filter: a port, an address, a block. */
function shortcuts(text: string, navigate: ReturnType<typeof useNavigate>): Entry[] {
  const icon = <Unplug className="size-4" aria-hidden />;
  const port = portRange(text);
  if (port) {
    return [
      {
        id: "port",
        group: "Open ports",
        icon,
        label: `Open ports ${port}`,
        go: () => navigate({ to: "/ports", search: { port } }),
      },
    ];
  }
  if (isIpv4(text) || isIpv6(text) || /^[0-9a-f.:]+\/\d{1,3}$/i.test(text)) {
    return [
      {
        id: "ip",
        group: "Open ports",
        icon,
        label: `Open ports at ${text}`,
        go: () => navigate({ to: "/ports", search: { ip: text } }),
      },
    ];
  }
  return [];
}
