import { type ReactNode, useEffect, useState } from "react";
import type { Scan } from "@/api/types";
import { compact, count, duration, parseTime } from "@/lib/format";
import { Progress } from "@/ui/progress";

interface Props {
  scan: Pick<
    Scan,
    | "status"
    | "started_at"
    | "progress_percent"
    | "progress_message"
    | "probes_sent"
    | "probes_total"
    | "rate_pps"
  >;
  found: number;
  action?: ReactNode;
}

/** How far a scan is that is planned or runs. */
export function LiveStrip({ scan, found, action }: Props) {
  const seconds = useSecondsSince(scan.started_at);
  const left =
    scan.rate_pps && scan.probes_total && scan.probes_sent != null
      ? Math.max(0, scan.probes_total - scan.probes_sent) / scan.rate_pps
      : null;
  const figures: [string, string][] = [
    ["Open ports", count(found)],
    [
      "Probes sent",
      scan.probes_sent ? `${compact(scan.probes_sent)} of ${compact(scan.probes_total ?? 0)}` : "–",
    ],
    ["Packets per second", scan.rate_pps ? compact(scan.rate_pps) : "–"],
    ["Going on for", seconds === null ? "–" : seconds < 10 ? `${seconds} s` : duration(seconds)],
    ["Sending ends in about", left === null ? "–" : duration(left)],
  ];
  return (
    <section aria-label="Progress" className="sheet border-l-[3px] border-l-mark px-4 py-3">
      <div className="flex flex-wrap items-baseline justify-between gap-x-4">
        <p className="font-semibold foreign" aria-live="polite">
          {scan.status === "planned"
            ? "Waiting for the agent to take it"
            : (scan.progress_message ?? "The agent is at work")}
        </p>
        <p className="flex items-baseline gap-3">
          {action}
          <span className="figures text-lg">
            {scan.progress_percent == null ? "" : `${Math.floor(scan.progress_percent)} %`}
          </span>
        </p>
      </div>
      <Progress
        value={scan.status === "planned" ? null : scan.progress_percent}
        label="Progress"
        className="my-2"
      />
      <dl className="flex flex-wrap gap-x-8 gap-y-2">
        {figures.map(([name, value]) => (
          <div key={name}>
            <dt className="label">{name}</dt>
            <dd className="figures">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** Whole seconds since a moment, counted while one looks: the page's own clock is too slow for a short scan. */
function useSecondsSince(moment: string | null | undefined): number | null {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return moment ? Math.max(0, Math.round((now - parseTime(moment).getTime()) / 1000)) : null;
}
