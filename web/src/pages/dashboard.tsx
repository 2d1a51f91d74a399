import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { agentsQuery, dashboardQuery, networksQuery, scansQuery } from "@/api/queries";
import type { Dashboard } from "@/api/types";
import { count, endpoint, percent, plural } from "@/lib/format";
import { lastVisit } from "@/lib/visit";
import { alertTitle, changeMark, doubt } from "@/lib/words";
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
  const dashboard = useQuery(dashboardQuery);
  return (
    <Loaded query={dashboard} what="The dashboard" rows={10}>
      {(data) => <DashboardView dashboard={data} />}
    </Loaded>
  );
}

function DashboardView({ dashboard }: { dashboard: Dashboard }) {
  const { changed, attention, trust, totals } = dashboard;
  const active = trust.active_scans;
  return (
    <Page title="Dashboard" heading={headline(dashboard)} lead={<Totals totals={totals} />}>
      <FirstSteps />
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
        <Changed changed={changed} />
        <Needs attention={attention} />
      </div>
      <Trust trust={trust} />
    </Page>
  );
}

/** The state of things in a sentence. */
function headline({ attention: { open }, trust, totals }: Dashboard): string {
  const urgent = open.critical + open.high;
  const needs =
    urgent > 0
      ? `${[open.critical > 0 && `${count(open.critical)} critical`, open.high > 0 && `${count(open.high)} high`].filter(Boolean).join(" and ")} ${urgent === 1 ? "alert needs" : "alerts need"} you`
      : open.total > 0
        ? `${plural(open.total, "alert")}, none urgent`
        : "Nothing needs you";
  if (totals.networks === 0) return open.total > 0 ? needs : "Nothing is watched yet";
  const doubtful = trust.doubtful_networks.length;
  const believed =
    doubtful === 0
      ? "every network is up to date"
      : `${count(doubtful)} of ${plural(totals.networks, "network")} ${doubtful === 1 ? "is" : "are"} in doubt`;
  return `${needs}; ${believed}`;
}

function Totals({ totals }: { totals: Dashboard["totals"] }) {
  const figures: [string, number, string][] = [
    ["/networks", totals.networks, totals.networks === 1 ? "network" : "networks"],
    ["/hosts", totals.hosts, totals.hosts === 1 ? "host" : "hosts"],
    ["/ports", totals.open_ports, totals.open_ports === 1 ? "open port" : "open ports"],
  ];
  return (
    <span className="inline-flex flex-wrap gap-x-4">
      {figures.map(([to, number, name]) => (
        <Link key={to} to={to} className="hover:text-sea hover:underline">
          <span className="figures font-semibold">{count(number)}</span> {name}
        </Link>
      ))}
    </span>
  );
}

/** What is to do until the first scan; nothing after it. */
function FirstSteps() {
  const { data: networks } = useQuery(networksQuery);
  const { data: agents = [] } = useQuery(agentsQuery);
  const { data: scans } = useQuery(scansQuery({ limit: 1 }));
  if (!networks || !scans || scans.scans.length > 0) return null;
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

function Changed({ changed }: { changed: Dashboard["changed"] }) {
  const [since] = useState(() => lastVisit());
  const sums = { added: 0, removed: 0, changed: 0 };
  for (const { kind, count: number } of changed.counts) sums[changeMark(kind)] += number;
  const rows = changed.newest.slice(0, 10);
  return (
    <Section
      title="What changed"
      note={
        <>
          in the last day
          {since && (
            <>
              ; you were here <Time at={since.toISOString()} />
            </>
          )}
        </>
      }
      bare
      actions={
        <Link to="/changes" className={buttonLook("quiet", true)}>
          All changes
        </Link>
      }
    >
      {rows.length === 0 ? (
        <Empty title="Nothing changed in the last day">
          From the second scan of a network on, every difference is listed here.
        </Empty>
      ) : (
        <>
          <div className="flex flex-wrap gap-x-6 gap-y-1 border-b border-line px-4 py-2.5">
            {(["added", "removed", "changed"] as const).map((kind) => (
              <span key={kind} className="inline-flex items-baseline gap-1.5">
                <ChangeMark kind={kind} label={kind} />
                <span className="figures text-lg font-semibold">{count(sums[kind])}</span>
                <span className="text-ink-2">
                  {{ added: "appeared", removed: "went away", changed: "became different" }[kind]}
                </span>
              </span>
            ))}
          </div>
          <ul>
            {rows.map((change) => (
              <ChangeLine key={change.id} change={change} withNetwork compact />
            ))}
          </ul>
          {changed.total > rows.length && (
            <p className="border-t border-line px-4 py-2 text-sm text-ink-3">
              The newest {rows.length} of {count(changed.total)}.
            </p>
          )}
        </>
      )}
    </Section>
  );
}

const order = ["critical", "high", "medium", "info"] as const;

function Needs({ attention: { open, alerts } }: { attention: Dashboard["attention"] }) {
  return (
    <Section
      title="What needs you"
      note={
        [
          open.assigned_to_me > 0 && `${count(open.assigned_to_me)} assigned to you`,
          open.snoozed > 0 && `${count(open.snoozed)} snoozed`,
        ]
          .filter(Boolean)
          .join(", ") || undefined
      }
      bare
      actions={
        <Link to="/alerts" className={buttonLook("quiet", true)}>
          All alerts
        </Link>
      }
    >
      {open.total === 0 ? (
        <Empty title="Nothing needs you">No alert is open.</Empty>
      ) : (
        <>
          <div className="flex flex-wrap gap-x-6 gap-y-1 border-b border-line px-4 py-2.5">
            {order.map((severity) => (
              <Link
                key={severity}
                to="/alerts"
                search={{ severity }}
                className="inline-flex items-baseline gap-1.5 rounded-sm hover:underline"
              >
                <SeverityMark severity={severity} bare />
                <span className="figures text-lg font-semibold">{count(open[severity])}</span>
                <span className="text-ink-2">{severity}</span>
              </Link>
            ))}
          </div>
          <ul>
            {alerts.map((alert) => (
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
                      <span className="font-medium">{alertTitle(alert)}</span>
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
      )}
    </Section>
  );
}

function Trust({ trust }: { trust: Dashboard["trust"] }) {
  const { data: networks = [] } = useQuery(networksQuery);
  const doubts = new Map(trust.doubtful_networks.map((network) => [network.id, network.reasons]));
  const agents = new Map(trust.agents.map((agent) => [agent.id, agent]));
  // Those in doubt first.
  const rows = networks.toSorted((a, b) => Number(doubts.has(b.id)) - Number(doubts.has(a.id)));
  return (
    <Section
      title="Can you trust what you see"
      note={[
        doubts.size === 0 ? "all up to date" : `${count(doubts.size)} in doubt`,
        `${count(trust.agents_online)} of ${plural(trust.agents.length, "agent")} online`,
        trust.worst_miss_estimate != null &&
          trust.worst_miss_estimate > 0 &&
          `${percent(trust.worst_miss_estimate)} of the open ports missed where it is worst, estimated`,
      ]
        .filter(Boolean)
        .join("; ")}
      bare
    >
      {rows.length === 0 ? (
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
          rowKey={(network) => network.id}
          columns={[
            {
              id: "verdict",
              head: "Verdict",
              cell: (network) => <Verdict reasons={doubts.get(network.id)} />,
            },
            {
              id: "network",
              head: "Network",
              cell: (network) => <NetworkLink id={network.id} name={network.name} />,
            },
            {
              id: "cidr",
              head: "Addresses",
              from: "md",
              cell: (network) => <span className="figures">{network.cidr}</span>,
            },
            {
              id: "scan",
              head: "Last scan",
              cell: (network) =>
                network.last_scan_id == null ? (
                  <span className="text-ink-3">never</span>
                ) : (
                  <Link
                    to="/scans/$scanId"
                    params={{ scanId: String(network.last_scan_id) }}
                    className="hover:text-sea hover:underline"
                  >
                    <Time at={network.last_scan_at} />
                  </Link>
                ),
            },
            {
              id: "next",
              head: "Next run",
              from: "sm",
              cell: (network) =>
                network.next_run_at ? (
                  <Time at={network.next_run_at} />
                ) : (
                  <span className="text-ink-3">by hand</span>
                ),
            },
            {
              id: "agent",
              head: "Agent",
              from: "sm",
              cell: (network) => {
                const agent = network.scanner_id == null ? undefined : agents.get(network.scanner_id);
                return agent ? (
                  <StateMark
                    state={agent.online ? "online" : agent.last_seen_at ? "offline" : "waiting"}
                    label={agent.name}
                  />
                ) : (
                  <span className="text-high">none</span>
                );
              },
            },
          ]}
        />
      )}
    </Section>
  );
}

/** Every reason for doubt by name, or none. */
function Verdict({ reasons }: { reasons: readonly string[] | undefined }) {
  if (!reasons) return <StateMark state="completed" label="up to date" />;
  return (
    <span className="flex flex-col">
      {reasons.map((reason) => (
        <StateMark key={reason} {...doubt(reason)} />
      ))}
    </span>
  );
}
