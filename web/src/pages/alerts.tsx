import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Check as CheckIcon, Clock3, ShieldCheck, UserRound } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { alertsQuery, meQuery, networksQuery } from "@/api/queries";
import type { Alert } from "@/api/types";
import { acknowledge, assign, snooze, unacknowledge, useAlertAction } from "@/lib/alert-actions";
import { cx } from "@/lib/cx";
import { count, endpoint, plural } from "@/lib/format";
import { useHotkeys } from "@/lib/hotkeys";
import { useCan } from "@/lib/session";
import { alertTitle, alertTypeOptions } from "@/lib/words";
import { Button, buttonLook } from "@/ui/button";
import { Choice, Field, Select } from "@/ui/field";
import { Keys } from "@/ui/keys";
import { SeverityMark, StateMark, Tag } from "@/ui/marks";
import { FilterBar, Page, Section } from "@/ui/page";
import { SearchInput } from "@/ui/search-input";
import { Empty, Loaded } from "@/ui/states";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { AlertDetails } from "./alert-details";
import { Expected } from "./expected";

const route = getRouteApi("/app/alerts");
const STEP = 100;

export function AlertsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const { data: networks } = useQuery(networksQuery);
  const [limit, setLimit] = useState(STEP);
  const show = filter.show ?? "open";
  const alerts = useQuery(
    alertsQuery({
      ...(show === "open" && { needs_attention: true }),
      ...(show === "acknowledged" && { acknowledged: true }),
      ...(filter.type && { type: filter.type as Alert["type"] }),
      ...(filter.severity && { severity: filter.severity }),
      ...(filter.network && { network_id: filter.network }),
      ...(filter.ip && { ip: filter.ip }),
      ...(filter.status && { resolution_status: filter.status }),
      limit,
    }),
  );
  const set = (change: Partial<typeof filter>) =>
    navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const narrowed = filter.type || filter.severity || filter.network || filter.ip || filter.status;

  return (
    <Page
      title="Alerts"
      lead="What differs from what you expect. Decide each once: acknowledge it, hand it on, or write the rule that makes it expected."
      actions={
        <a href="/api/alerts/export/csv" className={buttonLook()} download>
          CSV
        </a>
      }
    >
      <FilterBar label="Filter alerts">
        <Choice
          label="Which alerts"
          value={show}
          onChange={(value) => set({ show: value === "open" ? undefined : value })}
          options={[
            { value: "open", label: "Open" },
            { value: "acknowledged", label: "Acknowledged" },
            { value: "all", label: "All" },
          ]}
        />
        <Field label="Severity" className="w-32">
          <Select
            value={filter.severity ?? ""}
            onChange={(event) =>
              set({ severity: (event.target.value || undefined) as typeof filter.severity })
            }
            options={[
              { value: "", label: "All" },
              { value: "critical", label: "Critical" },
              { value: "high", label: "High" },
              { value: "medium", label: "Medium" },
              { value: "info", label: "Info" },
            ]}
          />
        </Field>
        <Field label="About" className="w-44">
          <Select
            value={filter.type ?? ""}
            onChange={(event) => set({ type: event.target.value || undefined })}
            options={[{ value: "", label: "Everything" }, ...alertTypeOptions]}
          />
        </Field>
        <Field label="Network" className="w-40">
          <Select
            value={filter.network ?? ""}
            onChange={(event) => set({ network: Number(event.target.value) || undefined })}
            options={[
              { value: "", label: "All" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
        <Field label="Address" className="w-full sm:w-44">
          <SearchInput
            value={filter.ip ?? ""}
            placeholder="10.0.0.7"
            onChange={(ip) => set({ ip: ip || undefined })}
          />
        </Field>
      </FilterBar>
      <Loaded query={alerts} what="The alerts" rows={8}>
        {({ alerts: rows, total }) =>
          rows.length === 0 ? (
            <section className="sheet">
              {show === "open" && !narrowed ? (
                <Empty title="Nothing needs you">
                  Every alert is dealt with. New ones appear here by themselves while this page is open.
                </Empty>
              ) : (
                <Empty
                  title="No alert matches"
                  action={
                    <Link to="/alerts" className={buttonLook()}>
                      Open alerts
                    </Link>
                  }
                />
              )}
            </section>
          ) : (
            <Triage
              alerts={rows}
              total={total}
              opened={filter.id}
              onOpen={(id) => set({ id })}
              more={rows.length < total ? () => setLimit((old) => Math.min(200, old + STEP)) : undefined}
            />
          )
        }
      </Loaded>
    </Page>
  );
}

interface TriageProps {
  alerts: readonly Alert[];
  total: number;
  opened: number | undefined;
  onOpen: (id: number | undefined) => void;
  more: (() => void) | undefined;
}

function Triage({ alerts, total, opened, onOpen, more }: TriageProps) {
  const queries = useQueryClient();
  const { data: me } = useQuery(meQuery);
  const canDecide = useCan("analyst");
  const canRule = useCan("operator");
  const [at, setAt] = useState(() =>
    Math.max(
      0,
      alerts.findIndex((alert) => alert.id === opened),
    ),
  );
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  const [expected, setExpected] = useState<readonly Alert[] | null>(null);
  const list = useRef<HTMLUListElement>(null);
  const active = Math.min(at, alerts.length - 1);
  const current = alerts[active];
  const selection = alerts.filter((alert) => chosen.has(alert.id));
  const subject = selection.length > 0 ? selection : current ? [current] : [];

  const ack = useAlertAction(acknowledge);
  const unack = useAlertAction(unacknowledge);
  const give = useAlertAction(assign);
  const later = useAlertAction(snooze);

  const doAcknowledge = () => {
    const open = subject.filter((alert) => !alert.acknowledged);
    if (open.length === 0) {
      for (const alert of subject) unack.mutate({ id: alert.id });
      return;
    }
    ack.mutate(
      { ids: open.map((alert) => alert.id) },
      {
        onSuccess: () => {
          setChosen(new Set());
          toast(`${plural(open.length, "alert")} acknowledged.`, {
            undo: () => {
              void Promise.all(open.map((alert) => unacknowledge({ id: alert.id }))).finally(() =>
                queries.invalidateQueries({ queryKey: ["alerts"] }),
              );
            },
          });
        },
      },
    );
  };
  const doAssign = () => {
    if (!me) return;
    for (const alert of subject) give.mutate({ id: alert.id, user_id: me.id });
    toast(`${plural(subject.length, "alert")} assigned to you.`);
  };
  const doSnooze = () => {
    const until = new Date(Date.now() + 86_400_000).toISOString();
    for (const alert of subject) later.mutate({ id: alert.id, until });
    toast("Out of sight for a day.", {
      undo: () => {
        for (const alert of subject) later.mutate({ id: alert.id, until: null });
      },
    });
  };
  const toggle = (id: number) =>
    setChosen((old) => {
      const next = new Set(old);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  const move = (step: number) => setAt(Math.min(alerts.length - 1, Math.max(0, active + step)));

  useHotkeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => current && onOpen(opened === current.id ? undefined : current.id),
    ...(canDecide && {
      x: () => current && toggle(current.id),
      a: doAcknowledge,
      m: doAssign,
      s: doSnooze,
    }),
    ...(canRule && { e: () => setExpected(subject.filter((alert) => alert.port != null)) }),
  });

  useEffect(() => {
    list.current?.querySelector(`[data-row="${active}"]`)?.scrollIntoView({ block: "nearest" });
  }, [active]);

  return (
    <Section
      title={
        selection.length > 0
          ? `${count(selection.length)} selected`
          : `${count(total)} ${total === 1 ? "alert" : "alerts"}`
      }
      note={
        selection.length === 0 && (
          <span className="max-md:hidden">
            <Keys keys="j" /> <Keys keys="k" /> move, <Keys keys="a" /> acknowledge, <Keys keys="e" />{" "}
            expected
          </span>
        )
      }
      bare
      actions={
        canDecide && (
          <>
            <Button
              small
              icon={<CheckIcon className="size-3.5" aria-hidden />}
              busy={ack.isPending}
              onClick={doAcknowledge}
            >
              {subject.length > 0 && subject.every((alert) => alert.acknowledged) ? "Reopen" : "Acknowledge"}
            </Button>
            {canRule && (
              <Button
                small
                icon={<ShieldCheck className="size-3.5" aria-hidden />}
                onClick={() => setExpected(subject.filter((alert) => alert.port != null))}
              >
                Expected
              </Button>
            )}
            <Button
              small
              className="max-sm:hidden"
              icon={<UserRound className="size-3.5" aria-hidden />}
              onClick={doAssign}
            >
              Mine
            </Button>
            <Button
              small
              className="max-sm:hidden"
              icon={<Clock3 className="size-3.5" aria-hidden />}
              onClick={doSnooze}
            >
              A day later
            </Button>
          </>
        )
      }
    >
      <ul ref={list} aria-label="Alerts">
        {alerts.map((alert, index) => (
          <AlertRow
            key={alert.id}
            alert={alert}
            index={index}
            active={index === active}
            chosen={chosen.has(alert.id)}
            open={opened === alert.id}
            canDecide={canDecide}
            onActivate={() => setAt(index)}
            onToggle={() => toggle(alert.id)}
            onOpen={() => {
              setAt(index);
              onOpen(opened === alert.id ? undefined : alert.id);
            }}
          />
        ))}
      </ul>
      {more && (
        <div className="border-t border-line p-3">
          <Button onClick={more}>Show more of {count(total)}</Button>
        </div>
      )}
      {expected && expected.length > 0 && (
        <Expected
          alerts={expected}
          onClose={() => {
            setExpected(null);
            setChosen(new Set());
          }}
        />
      )}
    </Section>
  );
}

interface RowProps {
  alert: Alert;
  index: number;
  active: boolean;
  chosen: boolean;
  open: boolean;
  canDecide: boolean;
  onActivate: () => void;
  onToggle: () => void;
  onOpen: () => void;
}

function AlertRow({ alert, index, active, chosen, open, canDecide, onActivate, onToggle, onOpen }: RowProps) {
  return (
    <li
      data-row={index}
      className={cx(
        "border-b border-line/70 last:border-0",
        active && "shadow-[inset_3px_0_0_var(--mark)]",
        chosen ? "bg-water" : active ? "bg-water-2" : undefined,
      )}
    >
      <div className="flex items-start gap-3 px-4 py-2">
        {canDecide && (
          <input
            type="checkbox"
            aria-label={`Select: ${alert.message}`}
            className="mt-1 size-4 shrink-0"
            checked={chosen}
            onChange={onToggle}
            onFocus={onActivate}
          />
        )}
        <span className="mt-1 shrink-0 sm:w-22 sm:text-sm">
          <span className="sm:hidden">
            <SeverityMark severity={alert.severity ?? "info"} bare />
          </span>
          <span className="max-sm:hidden">
            <SeverityMark severity={alert.severity ?? "info"} />
          </span>
        </span>
        <button
          type="button"
          aria-expanded={open}
          className="min-w-0 flex-1 rounded-sm text-left"
          onClick={onOpen}
          onFocus={onActivate}
        >
          <span className="flex flex-wrap items-baseline gap-x-2.5">
            <span className={cx(!alert.acknowledged && "font-semibold")}>{alertTitle(alert)}</span>
            {alert.ip && (
              <span className="figures foreign">
                {alert.port == null ? alert.ip : endpoint(alert.ip, alert.port)}
                {alert.protocol && alert.port != null && (
                  <span className="text-ink-3">/{alert.protocol}</span>
                )}
              </span>
            )}
            {alert.hostname && <span className="text-ink-2 foreign">{alert.hostname}</span>}
          </span>
          <span className="mt-0.5 flex flex-wrap items-center gap-x-3 text-sm text-ink-3">
            <span className="min-w-0 text-ink-2 foreign">{alert.message}</span>
            <span className="foreign">{alert.network_name ?? "All networks"}</span>
            {alert.assigned_to_email && (
              <span className="inline-flex items-center gap-1 foreign">
                <UserRound className="size-3" aria-hidden />
                {alert.assigned_to_email}
              </span>
            )}
            {alert.resolution_status && alert.resolution_status !== "open" && (
              <StateMark state={alert.resolution_status} />
            )}
            {alert.acknowledged && <Tag>acknowledged</Tag>}
            {alert.snoozed_until && <Tag tone="warn">snoozed</Tag>}
          </span>
        </button>
        <span className="shrink-0 pt-0.5 text-sm text-ink-3">
          <Time at={alert.created_at} />
        </span>
      </div>
      {open && <AlertDetails alert={alert} />}
    </li>
  );
}
