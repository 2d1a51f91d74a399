import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { Ban, Download, Eye, EyeOff, MoreHorizontal, Radar } from "lucide-react";
import { useMemo } from "react";
import { call, client } from "@/api/client";
import { errorText } from "@/api/error";
import {
  networkQuery,
  scanDiffQuery,
  scanLivePortsQuery,
  scanLogsQuery,
  scanQuery,
  scansQuery,
} from "@/api/queries";
import type { ScanDetail, ScanDiff, ScanPort } from "@/api/types";
import { useCancelScan, useStartScan } from "@/lib/actions";
import { cx } from "@/lib/cx";
import { absoluteTime, clockTime, count, duration, parseTime, percent } from "@/lib/format";
import { useNow } from "@/lib/now";
import { compareAddresses } from "@/lib/ports";
import { useCan } from "@/lib/session";
import { Button, IconButton } from "@/ui/button";
import { Field, Select } from "@/ui/field";
import { type ChangeKind, ChangeMark, StateMark, Tag } from "@/ui/marks";
import { Menu, MenuItem, MenuLink } from "@/ui/menu";
import { Facts, Page, Section } from "@/ui/page";
import { PortRuler } from "@/ui/ruler";
import { Empty, Loaded } from "@/ui/states";
import { type Column, Table } from "@/ui/table";
import { Tabs } from "@/ui/tabs";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { AddressLink, NetworkLink, PortLink, Product, ServiceLink } from "@/ui/values";
import { LiveStrip } from "./live-strip";
import { scanSeconds } from "./scan-list";

const route = getRouteApi("/app/scans/$scanId");

export function ScanPage() {
  const id = Number(route.useParams().scanId);
  const scan = useQuery(scanQuery(id));
  return (
    <Loaded query={scan} what="The scan" rows={8}>
      {(data) => <ScanView scan={data} />}
    </Loaded>
  );
}

/** What the tables need of a port, whether it came live or with the scan. */
interface Row {
  ip: string;
  port: number;
  protocol: string;
  service: string | null | undefined;
  product: string | null | undefined;
  version: string | null | undefined;
  firstSeen: string | null;
  fresh: boolean;
}

function rowOf(port: ScanPort): Row {
  return {
    ip: port.ip,
    port: port.port,
    protocol: port.protocol,
    service: port.service_guess,
    product: port.product,
    version: port.version,
    firstSeen: port.first_seen_at,
    fresh: false,
  };
}

const rowKey = (row: { ip: string; port: number; protocol: string }) =>
  `${row.ip} ${row.port} ${row.protocol}`;

function ScanView({ scan }: { scan: ScanDetail }) {
  const { tab, compare } = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const now = useNow();
  const canRun = useCan("operator");
  const cancel = useCancelScan();
  const again = useStartScan();
  const { data: network } = useQuery(networkQuery(scan.network_id));
  const { data: live } = useQuery(scanLivePortsQuery(scan.id));
  const active = scan.status === "running" || scan.status === "planned";

  const rows = useMemo(() => {
    const known = new Map(scan.open_ports.map((port) => [rowKey(port), rowOf(port)]));
    for (const port of active ? (live ?? []) : []) {
      if (port.state !== "open") continue;
      const before = known.get(rowKey(port));
      known.set(rowKey(port), {
        ...port,
        firstSeen: before?.firstSeen ?? null,
        service: port.service ?? before?.service,
        product: port.product ?? before?.product,
        version: port.version ?? before?.version,
        fresh: true,
      });
    }
    return [...known.values()].toSorted((a, b) => compareAddresses(a.ip, b.ip) || a.port - b.port);
  }, [scan.open_ports, live, active]);

  const hide = useMutation({
    mutationFn: (hidden: boolean) =>
      call(
        client.PATCH("/api/scans/{scan_id}/visibility", {
          params: { path: { scan_id: scan.id } },
          body: { hidden },
        }),
      ),
    onSuccess: (_, hidden) => {
      void queries.invalidateQueries({ queryKey: ["scan", scan.id] });
      void queries.invalidateQueries({ queryKey: ["scans"] });
      toast(hidden ? "Hidden from the lists." : "Shown in the lists.", { undo: () => hide.mutate(!hidden) });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });

  const seconds = scanSeconds(scan, now);
  const hosts = new Set(rows.map((row) => row.ip)).size;
  const ticks = rows.map((row) => ({
    port: row.port,
    kind: active && row.fresh ? ("added" as const) : ("open" as const),
  }));

  return (
    <Page
      title={`Scan ${scan.id}`}
      heading={
        <span className="inline-flex flex-wrap items-center gap-x-3">
          <span>
            Scan <span className="figures">{scan.id}</span>
          </span>
          <span className="text-base font-normal">
            <StateMark state={scan.status} />
          </span>
        </span>
      }
      lead={
        <>
          of <NetworkLink id={scan.network_id} name={network?.name} />{" "}
          {network && <span className="figures text-ink-3">{scan.target_ip ?? network.cidr}</span>}
        </>
      }
      actions={
        <>
          <Menu
            trigger={
              <IconButton label="More">
                <MoreHorizontal className="size-4" aria-hidden />
              </IconButton>
            }
          >
            <MenuLink>
              <a href={`/api/scans/${scan.id}/export/csv`} download>
                <Download className="size-4 text-ink-2" aria-hidden />
                Download as CSV
              </a>
            </MenuLink>
            {canRun && (
              <MenuItem
                onSelect={() => hide.mutate(!scan.hidden)}
                icon={
                  scan.hidden ? (
                    <Eye className="size-4 text-ink-2" aria-hidden />
                  ) : (
                    <EyeOff className="size-4 text-ink-2" aria-hidden />
                  )
                }
              >
                {scan.hidden ? "Show in lists" : "Hide from lists"}
              </MenuItem>
            )}
          </Menu>
          {canRun && active && (
            <Button
              kind="danger"
              icon={<Ban className="size-4" aria-hidden />}
              busy={cancel.isPending}
              onClick={() => cancel.mutate(scan.id)}
            >
              Cancel scan
            </Button>
          )}
          {canRun && !active && (
            <Button
              icon={<Radar className="size-4" aria-hidden />}
              busy={again.isPending}
              onClick={() => again.mutate(scan.network_id)}
            >
              Scan again
            </Button>
          )}
        </>
      }
    >
      {active && <LiveStrip scan={scan} found={rows.length} />}
      <Outcome scan={scan} />
      <Section
        title={active ? "Found so far" : "Found"}
        note={`${count(rows.length)} open ports on ${count(hosts)} ${hosts === 1 ? "host" : "hosts"}`}
      >
        <PortRuler ticks={ticks} label={`${count(rows.length)} open ports between 1 and 65535`} />
        {!active && (
          <Facts
            className="mt-4"
            items={[
              ["Started", <Time key="s" at={scan.started_at} />],
              ["Took", seconds === null ? "–" : duration(seconds)],
              ["Started by", scan.trigger_type === "scheduled" ? "schedule" : "hand"],
              ["Agent", scan.scanner_name],
              ["Probes sent", scan.probes_sent == null ? "–" : count(scan.probes_sent)],
              [
                "Answers missed, estimated",
                scan.miss_estimate == null ? (
                  <span key="m" className="text-ink-3">
                    not measured
                  </span>
                ) : (
                  percent(scan.miss_estimate)
                ),
              ],
            ]}
          />
        )}
      </Section>
      <Tabs
        label="Parts of the scan"
        value={tab ?? "ports"}
        onChange={(next) => navigate({ search: (old) => ({ ...old, tab: next }), replace: true })}
        tabs={[
          {
            value: "ports",
            label: (
              <>
                Open ports <span className="figures text-ink-3">{count(rows.length)}</span>
              </>
            ),
            content: <Ports rows={rows} active={active} />,
          },
          {
            value: "diff",
            label: "Compare",
            content: (
              <Diff
                scan={scan}
                compare={compare}
                onCompare={(to) => navigate({ search: (old) => ({ ...old, compare: to }), replace: true })}
              />
            ),
          },
          { value: "logs", label: "Log", content: <Logs id={scan.id} active={active} /> },
        ]}
      />
    </Page>
  );
}

function Outcome({ scan }: { scan: ScanDetail }) {
  if (scan.status === "failed") {
    return (
      <div role="alert" className="border-l-[3px] border-critical bg-critical-wash px-4 py-3">
        <p className="font-semibold">The scan failed. What it had found is kept.</p>
        <p className="foreign">{scan.error_message ?? "The agent gave no reason; the log may."}</p>
      </div>
    );
  }
  if (scan.status === "cancelled") {
    return (
      <div className="border-l-[3px] border-line-strong bg-well px-4 py-3">
        Cancelled{" "}
        {scan.cancelled_by_email && (
          <>
            by <span className="foreign">{scan.cancelled_by_email}</span>{" "}
          </>
        )}
        <Time at={scan.cancelled_at} />. What it had found is kept; ports not reached keep the state they had.
      </div>
    );
  }
  return null;
}

const columns: readonly Column<Row>[] = [
  { id: "ip", head: "Address", cell: (row) => <AddressLink ip={row.ip} /> },
  { id: "port", head: "Port", cell: (row) => <PortLink port={row.port} protocol={row.protocol} /> },
  {
    id: "service",
    head: "Service",
    cell: (row) =>
      row.service ? (
        <ServiceLink service={row.service} />
      ) : (
        <span className="text-ink-3">{row.fresh ? "asking …" : "not identified"}</span>
      ),
  },
  {
    id: "product",
    head: "Product",
    from: "sm",
    cell: (row) => <Product product={row.product} version={row.version} />,
  },
  {
    id: "first",
    head: "First seen",
    from: "md",
    cell: (row) => (row.firstSeen ? <Time at={row.firstSeen} /> : <Tag tone="mark">just now</Tag>),
  },
];

function Ports({ rows, active }: { rows: readonly Row[]; active: boolean }) {
  if (rows.length === 0) {
    return (
      <div className="sheet">
        <Empty title={active ? "No open port so far" : "No open port was found"}>
          {active
            ? "They appear here the moment they answer."
            : "Either nothing listens on the ports that were probed, or a firewall swallows the probes."}
        </Empty>
      </div>
    );
  }
  return (
    <div className="sheet">
      <Table
        caption="Open ports"
        columns={columns}
        rows={rows.slice(0, 2000)}
        rowKey={rowKey}
        rowClass={(row) => (row.fresh ? "arrive" : undefined)}
      />
      {rows.length > 2000 && (
        <p className="border-t border-line px-4 py-2 text-ink-2">
          The first 2000 are shown; the CSV has all.
        </p>
      )}
    </div>
  );
}

interface Difference extends Row {
  kind: ChangeKind;
  before?: Row;
}

function differences(data: ScanDiff): Difference[] {
  return [
    ...data.added_ports.map((port) => ({ ...rowOf(port), kind: "added" as const })),
    ...data.removed_ports.map((port) => ({ ...rowOf(port), kind: "removed" as const })),
    ...data.changed_ports.map(({ before, after }) => ({
      ...rowOf(after),
      kind: "changed" as const,
      before: rowOf(before),
    })),
  ];
}

const diffColumns: readonly Column<Difference>[] = [
  {
    id: "kind",
    head: <span className="sr-only">Difference</span>,
    cell: (row) => <ChangeMark kind={row.kind} />,
  },
  { id: "ip", head: "Address", cell: (row) => <AddressLink ip={row.ip} /> },
  { id: "port", head: "Port", cell: (row) => <PortLink port={row.port} protocol={row.protocol} /> },
  {
    id: "service",
    head: "Service",
    cell: (row) => (
      <>
        {row.before && row.before.service !== row.service && (
          <del className="block text-ink-3">{row.before.service ?? "not identified"}</del>
        )}
        <ServiceLink service={row.service} />
      </>
    ),
  },
  {
    id: "product",
    head: "Product",
    cell: (row) => (
      <>
        {row.before && (row.before.product !== row.product || row.before.version !== row.version) && (
          <del className="block text-ink-3">
            <Product product={row.before.product} version={row.before.version} />
          </del>
        )}
        <Product product={row.product} version={row.version} />
      </>
    ),
  },
];

function Diff({
  scan,
  compare,
  onCompare,
}: {
  scan: ScanDetail;
  compare: number | undefined;
  onCompare: (id: number | undefined) => void;
}) {
  const others = useQuery(scansQuery({ network_id: scan.network_id, limit: 50 }));
  const choices = (others.data?.scans ?? []).filter(
    (other) => other.id !== scan.id && other.status === "completed",
  );
  const other = compare ?? choices.find((each) => each.id < scan.id)?.id;
  const diff = useQuery({ ...scanDiffQuery(scan.id, other ?? 0), enabled: other !== undefined });
  if (others.data && choices.length === 0) {
    return (
      <div className="sheet">
        <Empty title="Nothing to compare with">This is the only finished scan of its network.</Empty>
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-3">
      <Field label="Compared with" className="w-full max-w-sm">
        <Select
          value={other ?? ""}
          onChange={(event) => onCompare(Number(event.target.value) || undefined)}
          options={choices.map((each) => ({
            value: String(each.id),
            label: `Scan ${each.id}${each.started_at ? `, ${absoluteTime(parseTime(each.started_at))}` : ""}, ${count(each.port_count)} ports`,
          }))}
        />
      </Field>
      {other !== undefined && (
        <Loaded query={diff} what="The comparison">
          {(data) => {
            const sums: [ChangeKind, string, number][] = [
              ["added", "open here, not there", data.added_count],
              ["removed", "open there, not here", data.removed_count],
              ["changed", "answer differently", data.changed_count],
            ];
            const rows = differences(data);
            return (
              <div className="sheet">
                <div className="flex flex-wrap gap-x-6 gap-y-1 border-b border-line px-4 py-2.5">
                  {sums.map(([kind, text, number]) => (
                    <span key={kind} className="inline-flex items-center gap-1.5">
                      <ChangeMark kind={kind} label={text} />
                      <span className="figures font-semibold">{count(number)}</span> {text}
                    </span>
                  ))}
                  <span className="text-ink-2">
                    <span className="figures font-semibold">{count(data.unchanged_count)}</span> in both
                  </span>
                  {data.only_ip && (
                    <span className="text-ink-2">
                      only <span className="figures">{data.only_ip}</span> is compared
                    </span>
                  )}
                </div>
                {rows.length === 0 ? (
                  <Empty title="No difference">
                    Both scans found the same ports open, with the same services.
                  </Empty>
                ) : (
                  <Table
                    caption="Differences"
                    rowKey={(row) => `${row.kind} ${rowKey(row)}`}
                    rows={rows.slice(0, 2000)}
                    columns={diffColumns}
                  />
                )}
                {rows.length > 2000 && (
                  <p className="border-t border-line px-4 py-2 text-ink-2">The first 2000 are shown.</p>
                )}
              </div>
            );
          }}
        </Loaded>
      )}
    </div>
  );
}

function Logs({ id, active }: { id: number; active: boolean }) {
  const logs = useQuery({ ...scanLogsQuery(id), refetchInterval: active ? 2000 : false });
  return (
    <Loaded query={logs} what="The log">
      {({ logs: lines }) =>
        lines.length === 0 ? (
          <div className="sheet">
            <Empty title="The log is empty">
              {active ? "The agent has said nothing yet." : "The agent said nothing."}
            </Empty>
          </div>
        ) : (
          <ol className="sheet divide-y divide-line/60">
            {lines.map((line, index) => (
              <li key={index} className="grid grid-cols-[auto_auto_minmax(0,1fr)] gap-x-3 px-4 py-1">
                <time
                  dateTime={line.timestamp}
                  title={absoluteTime(parseTime(line.timestamp))}
                  className="figures text-ink-3"
                >
                  {clockTime(parseTime(line.timestamp))}
                </time>
                <span
                  className={cx(
                    "w-15 text-sm",
                    line.level === "error"
                      ? "font-semibold text-critical"
                      : line.level === "warning"
                        ? "font-semibold text-high"
                        : "text-ink-3",
                  )}
                >
                  {line.level}
                </span>
                <span className="figures foreign">{line.message}</span>
              </li>
            ))}
          </ol>
        )
      }
    </Loaded>
  );
}
