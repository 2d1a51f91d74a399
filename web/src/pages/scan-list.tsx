import { Link } from "@tanstack/react-router";
import type { Scan } from "@/api/types";
import { useCancelScan } from "@/lib/actions";
import { count, duration, parseTime } from "@/lib/format";
import { useNow } from "@/lib/now";
import { useCan } from "@/lib/session";
import { Button } from "@/ui/button";
import { StateMark, Tag } from "@/ui/marks";
import { Progress } from "@/ui/progress";
import { type Column, Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { NetworkLink } from "@/ui/values";

/** How long a scan took, or has been going on. */
export function scanSeconds(
  scan: Pick<Scan, "started_at" | "completed_at" | "cancelled_at" | "status">,
  now: Date,
): number | null {
  if (!scan.started_at) return null;
  const end = scan.completed_at ?? scan.cancelled_at;
  if (!end && scan.status !== "running") return null;
  return Math.max(0, ((end ? parseTime(end) : now).getTime() - parseTime(scan.started_at).getTime()) / 1000);
}

/** Scans as rows, the running ones with their progress. */
export function ScanList({ scans, withNetwork }: { scans: readonly Scan[]; withNetwork: boolean }) {
  const now = useNow();
  const cancel = useCancelScan();
  const canCancel = useCan("operator");
  const columns: readonly Column<Scan>[] = [
    {
      id: "id",
      head: "Scan",
      cell: (scan) => (
        <Link
          to="/scans/$scanId"
          params={{ scanId: String(scan.id) }}
          className="figures font-semibold hover:text-sea hover:underline"
        >
          {scan.id}
        </Link>
      ),
    },
    {
      id: "status",
      head: "Status",
      cell: (scan) => (
        <div className="min-w-28">
          <StateMark state={scan.status} />
          {scan.hidden && <Tag>hidden</Tag>}
          {scan.status === "running" && (
            <>
              <Progress
                value={scan.progress_percent}
                label={`Progress of scan ${scan.id}`}
                className="mt-1 max-w-44"
              />
              <p className="text-sm text-ink-3 foreign">{scan.progress_message}</p>
            </>
          )}
        </div>
      ),
    },
    ...(withNetwork
      ? [
          {
            id: "network",
            head: "Network",
            cell: (scan: Scan) => (
              <span className="block min-w-24">
                <NetworkLink id={scan.network_id} name={scan.network_name} />
              </span>
            ),
          },
        ]
      : []),
    {
      id: "ports",
      head: "Open ports",
      right: true,
      cell: (scan) => <span className="figures">{count(scan.port_count)}</span>,
    },
    {
      id: "target",
      head: "Target",
      from: "lg",
      cell: (scan) =>
        scan.target_ip ? (
          <span className="figures">{scan.target_ip}</span>
        ) : (
          <span className="text-ink-3">all of it</span>
        ),
    },
    {
      id: "trigger",
      head: "Started by",
      from: "lg",
      cell: (scan) => (
        <span className="text-ink-2">{scan.trigger_type === "scheduled" ? "schedule" : "hand"}</span>
      ),
    },
    {
      id: "agent",
      head: "Agent",
      from: "xl",
      cell: (scan) => <span className="text-ink-2 foreign">{scan.scanner_name}</span>,
    },
    { id: "started", head: "Started", from: "sm", cell: (scan) => <Time at={scan.started_at} /> },
    {
      id: "took",
      head: "Took",
      from: "sm",
      right: true,
      cell: (scan) => {
        const seconds = scanSeconds(scan, now);
        return (
          <span className="whitespace-nowrap tabular-nums">{seconds === null ? "–" : duration(seconds)}</span>
        );
      },
    },
    {
      id: "do",
      head: <span className="sr-only">Actions</span>,
      right: true,
      from: "sm",
      cell: (scan) =>
        canCancel &&
        (scan.status === "running" || scan.status === "planned") && (
          <Button
            small
            busy={cancel.isPending && cancel.variables === scan.id}
            onClick={() => cancel.mutate(scan.id)}
          >
            Cancel
          </Button>
        ),
    },
  ];
  return <Table caption="Scans" columns={columns} rows={scans} rowKey={(scan) => scan.id} />;
}
