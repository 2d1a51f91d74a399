import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import {
  agentsQuery,
  alertsQuery,
  changesQuery,
  latestScansQuery,
  networksQuery,
  scansQuery,
} from "@/api/queries";
import type { Agent, Alert, Network } from "@/api/types";
import { coverageOf } from "@/lib/coverage";
import { count, endpoint, plural } from "@/lib/format";
import { useNow } from "@/lib/now";
import { lastVisit } from "@/lib/visit";
import { alertTypeName, changeMark } from "@/lib/words";
import { buttonLook } from "@/ui/button";
import { ChangeLine } from "@/ui/change-line";
import { ChangeMark, SeverityMark, StateMark } from "@/ui/marks";
import { Page, Section } from "@/ui/page";
import { Progress } from "@/ui/progress";
import { Empty, Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { NetworkLink } from "@/ui/values";

/** Three questions, in this order: what changed, what needs me, can I trust what I see. */
export function DashboardPage() {
  const networks = useQuery(networksQuery);
  const agents = useQuery(agentsQuery);
  const running = useQuery(scansQuery({ limit: 20 }));
  const active = (running.data?.scans ?? []).filter(
    (scan) => scan.status === "running" || scan.status === "planned",
  );
  const isNew = networks.data !== undefined && running.data !== undefined && running.data.scans.length === 0;

  return (
    <Page title="Dashboard" heading={<Headline />}>
      {isNew && <FirstSteps networks={networks.data} agents={agents.data ?? []} />}
      {active.length > 0 && (
        <section
          aria-label="Running now"
          className="sheet divide-y divide-line/70 border-l-[3px] border-l-mark"
        >
          {active.map((scan) => (
            <Link
              key={scan.id}
              to="/scans/$scanId"
              params={{ scanId: String(scan.id) }}
              className="grid grid-cols-[auto_minmax(0,1fr)_auto] items-center gap-x-4 gap-y-1 px-4 py-2 hover:bg-water-2 sm:grid-cols-[auto_minmax(0,14rem)_minmax(0,1fr)_auto]"
            >
              <StateMark state={scan.status} />
              <span className="truncate font-semibold">{scan.network_name}</span>
              <span className="col-span-3 row-start-2 sm:col-span-1 sm:row-start-auto">
                <Progress
                  value={scan.status === "planned" ? null : scan.progress_percent}
                  label={`Progress of scan ${scan.id}`}
                />
              </span>
              <span className="figures text-right">
                {count(scan.port_count)} <span className="text-ink-3">open</span>
              </span>
            </Link>
          ))}
        </section>
      )}
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <Changed />
        <Needs />
      </div>
      <Trust />
    </Page>
  );
}

/** The state of things in a sentence. */
function Headline() {
  const { data: alerts } = useQuery(openAlerts);
  const { rows } = useCoverage();
  if (!alerts) return "Dashboard";
  const number = (severity: string) => alerts.alerts.filter((alert) => alert.severity === severity).length;
  const [critical, high] = [number("critical"), number("high")];
  const doubtful = rows.filter((row) => row.verdict.state !== "good").length;
  const needs =
    critical + high > 0
      ? `${[critical > 0 && `${count(critical)} critical`, high > 0 && `${count(high)} high`].filter(Boolean).join(" and ")} ${critical + high === 1 ? "alert needs" : "alerts need"} you`
      : alerts.total > 0
        ? `${plural(alerts.total, "alert")}, none urgent`
        : "Nothing needs you";
  if (rows.length === 0) return alerts.total > 0 ? needs : "Nothing is watched yet";
  const trust =
    doubtful === 0
      ? "every network is up to date"
      : `${count(doubtful)} of ${plural(rows.length, "network")} ${doubtful === 1 ? "is" : "are"} in doubt`;
  return `${needs}; ${trust}`;
}

function FirstSteps({ networks, agents }: { networks: readonly Network[]; agents: readonly Agent[] }) {
  const first = networks[0];
  return (
    <Section title="To begin with">
      <ol className="flex flex-col gap-3">
        <Step done={agents.length > 0} title="An agent does the scanning">
          {agents.length > 0 ? (
            <>{agents.map((agent) => agent.name).join(", ")} is enrolled.</>
          ) : (
            <Link to="/agents" className="text-sea underline">
              Enrol one
            </Link>
          )}
        </Step>
        <Step done={networks.length > 0} title="A network says what to look at">
          {first ? (
            <>
              <NetworkLink id={first.id} name={first.name} /> <span className="figures">{first.cidr}</span> is
              ready.
            </>
          ) : (
            <Link to="/networks" search={{ new: true }} className="text-sea underline">
              Add one
            </Link>
          )}
        </Step>
        <Step done={false} title="A scan shows what is open">
          {first ? (
            <Link
              to="/networks/$networkId"
              params={{ networkId: String(first.id) }}
              className={buttonLook("primary")}
            >
              Go to {first.name} and scan it
            </Link>
          ) : (
            "Comes after the two above."
          )}
        </Step>
      </ol>
    </Section>
  );
}

function Step({ done, title, children }: { done: boolean; title: string; children: React.ReactNode }) {
  return (
    <li className="flex items-start gap-3">
      <span className="pt-0.5">
        <StateMark state={done ? "completed" : "planned"} label={done ? "done" : "to do"} bare />
      </span>
      <div>
        <p className="font-semibold">{title}</p>
        <div className="mt-0.5 text-ink-2">{children}</div>
      </div>
    </li>
  );
}

function Changed() {
  const [since] = useState(() => lastVisit());
  const changes = useQuery(changesQuery({ limit: 40 }));
  return (
    <Section
      title="What changed"
      note={
        since ? (
          <>
            you were here <Time at={since.toISOString()} />
          </>
        ) : undefined
      }
      bare
      actions={
        <Link to="/changes" className={buttonLook("quiet", true)}>
          All changes
        </Link>
      }
    >
      <Loaded query={changes} what="The changes" rows={6}>
        {({ changes: rows, next_cursor }) => {
          if (rows.length === 0) {
            return (
              <Empty title="Nothing has changed yet">
                From the second scan of a network on, every difference is listed here.
              </Empty>
            );
          }
          const counts = { added: 0, removed: 0, changed: 0 };
          for (const change of rows) counts[changeMark(change.kind)] += 1;
          return (
            <>
              <div className="flex flex-wrap gap-x-6 gap-y-1 border-b border-line px-4 py-2.5">
                {(["added", "removed", "changed"] as const).map((kind) => (
                  <span key={kind} className="inline-flex items-baseline gap-1.5">
                    <ChangeMark kind={kind} label={kind} />
                    <span className="figures text-lg font-semibold">{counts[kind]}</span>
                    <span className="text-ink-2">
                      {{ added: "appeared", removed: "went away", changed: "became different" }[kind]}
                    </span>
                  </span>
                ))}
                {next_cursor && (
                  <span className="self-center text-sm text-ink-3">in the last {rows.length}</span>
                )}
              </div>
              <ul>
                {rows.slice(0, 10).map((change) => (
                  <ChangeLine key={change.id} change={change} withNetwork compact />
                ))}
              </ul>
            </>
          );
        }}
      </Loaded>
    </Section>
  );
}

const openAlerts = alertsQuery({ acknowledged: false, limit: 200 });
const order = ["critical", "high", "medium", "info"] as const;

function Needs() {
  const alerts = useQuery(openAlerts);
  return (
    <Section
      title="What needs you"
      bare
      actions={
        <Link to="/alerts" className={buttonLook("quiet", true)}>
          All alerts
        </Link>
      }
    >
      <Loaded query={alerts} what="The alerts" rows={6}>
        {({ alerts: rows, total }) => {
          if (rows.length === 0) return <Empty title="Nothing needs you">No alert is open.</Empty>;
          const worst = rows.toSorted((a, b) => rank(a) - rank(b) || b.id - a.id).slice(0, 10);
          return (
            <>
              <div className="flex flex-wrap gap-x-6 gap-y-1 border-b border-line px-4 py-2.5">
                {order.map((severity) => {
                  const number = rows.filter((alert) => alert.severity === severity).length;
                  return (
                    <Link
                      key={severity}
                      to="/alerts"
                      search={{ severity }}
                      className="inline-flex items-baseline gap-1.5 rounded-sm hover:underline"
                    >
                      <SeverityMark severity={severity} bare />
                      <span className="figures text-lg font-semibold">{count(number)}</span>
                      <span className="text-ink-2">{severity}</span>
                    </Link>
                  );
                })}
                {total > rows.length && (
                  <span className="self-center text-sm text-ink-3">
                    in the newest {rows.length} of {count(total)}
                  </span>
                )}
              </div>
              <ul>
                {worst.map((alert) => (
                  <li key={alert.id} className="border-b border-line/70 last:border-0">
                    <Link
                      to="/alerts"
                      search={{ id: alert.id }}
                      className="flex items-start gap-2.5 px-4 py-1.5 hover:bg-water-2"
                    >
                      <span className="pt-0.5">
                        <SeverityMark severity={alert.severity ?? "info"} bare />
                      </span>
                      <span className="min-w-0 flex-1">
                        <span className="flex flex-wrap items-baseline gap-x-2">
                          <span className="font-medium">{alertTypeName(alert.type)}</span>
                          {alert.ip && (
                            <span className="figures foreign">
                              {alert.port == null ? alert.ip : endpoint(alert.ip, alert.port)}
                            </span>
                          )}
                        </span>
                        <span className="block truncate text-sm text-ink-2">
                          {alert.network_name ?? alert.message}
                        </span>
                      </span>
                      <span className="shrink-0 text-sm text-ink-3">
                        <Time at={alert.created_at} />
                      </span>
                    </Link>
                  </li>
                ))}
              </ul>
            </>
          );
        }}
      </Loaded>
    </Section>
  );
}

function rank(alert: Alert): number {
  const at = order.findIndex((severity) => severity === alert.severity);
  return at < 0 ? order.length : at;
}

function useCoverage() {
  const now = useNow();
  const networks = useQuery(networksQuery);
  const agents = useQuery(agentsQuery);
  const latest = useQuery(latestScansQuery);
  const rows = useMemo(
    () =>
      (networks.data ?? []).map((network) => {
        const scan = latest.data?.find((entry) => entry.network_id === network.id)?.scan ?? null;
        const agent = agents.data?.find((each) => each.id === network.scanner_id) ?? null;
        return { network, scan, agent, verdict: coverageOf(network, scan, agent, now) };
      }),
    [networks.data, latest.data, agents.data, now],
  );
  return { rows, networks, agents };
}

function Trust() {
  const { rows, networks, agents } = useCoverage();
  const doubtful = rows.filter((row) => row.verdict.state !== "good").length;
  const online = (agents.data ?? []).filter((agent) => agent.online).length;
  return (
    <Section
      title="Can you trust what you see"
      note={
        networks.data &&
        `${plural(rows.length, "network")}, ${doubtful === 0 ? "all up to date" : `${count(doubtful)} in doubt`}; ${count(online)} of ${plural(agents.data?.length ?? 0, "agent")} online`
      }
      bare
    >
      <Loaded query={networks} what="The networks" rows={4}>
        {() =>
          rows.length === 0 ? (
            <Empty
              title="Nothing is watched yet"
              action={
                <Link to="/networks" search={{ new: true }} className={buttonLook("primary")}>
                  Add a network
                </Link>
              }
            />
          ) : (
            <Table
              caption="Coverage"
              rows={rows}
              rowKey={(row) => row.network.id}
              columns={[
                {
                  id: "verdict",
                  head: "Verdict",
                  cell: (row) => (
                    <StateMark
                      state={
                        { good: "completed", late: "in_progress", bad: "failed", none: "planned" }[
                          row.verdict.state
                        ]
                      }
                      label={row.verdict.text}
                    />
                  ),
                },
                {
                  id: "network",
                  head: "Network",
                  cell: (row) => <NetworkLink id={row.network.id} name={row.network.name} />,
                },
                {
                  id: "cidr",
                  head: "Addresses",
                  from: "md",
                  cell: (row) => <span className="figures">{row.network.cidr}</span>,
                },
                {
                  id: "scan",
                  head: "Last finished scan",
                  cell: (row) =>
                    row.scan ? (
                      <Link
                        to="/scans/$scanId"
                        params={{ scanId: String(row.scan.id) }}
                        className="hover:text-sea hover:underline"
                      >
                        <Time at={row.scan.completed_at ?? row.scan.started_at} />
                      </Link>
                    ) : (
                      <span className="text-ink-3">never</span>
                    ),
                },
                {
                  id: "schedule",
                  head: "Schedule",
                  from: "sm",
                  cell: (row) =>
                    row.network.scan_schedule ? (
                      <span className="figures">{row.network.scan_schedule}</span>
                    ) : (
                      <span className="text-ink-3">by hand</span>
                    ),
                },
                {
                  id: "agent",
                  head: "Agent",
                  from: "sm",
                  cell: (row) =>
                    row.agent ? (
                      <StateMark
                        state={row.agent.online ? "online" : row.agent.last_seen_at ? "offline" : "waiting"}
                        label={row.agent.name}
                      />
                    ) : (
                      <span className="text-high">none</span>
                    ),
                },
              ]}
            />
          )
        }
      </Loaded>
    </Section>
  );
}
