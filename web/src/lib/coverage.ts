import { parseTime } from "./format";

export interface Verdict {
  state: "good" | "late" | "bad" | "none";
  text: string;
}

interface Network {
  scan_schedule?: string | null | undefined;
  next_run_at?: string | null | undefined;
}

interface Scan {
  status: string;
  completed_at?: string | null | undefined;
}

const DAY = 86_400_000;

/** Whether what is known of a network can be believed, and in two words why not. */
export function coverageOf(
  network: Network,
  scan: Scan | null,
  agent: { online: boolean } | null,
  now: Date,
): Verdict {
  if (!agent) return { state: "bad", text: "no agent" };
  if (!scan?.completed_at) return { state: "none", text: "never scanned" };
  if (!agent.online) return { state: "bad", text: "agent offline" };
  const age = now.getTime() - parseTime(scan.completed_at).getTime();
  const limit = (longestGap(network.scan_schedule) ?? 30 * DAY) * 1.25;
  if (age > limit) return { state: "late", text: network.scan_schedule ? "overdue" : "old" };
  return { state: "good", text: "up to date" };
}

/** About how far apart a schedule's runs can lie, in milliseconds; null where there is no schedule. */
export function longestGap(schedule: string | null | undefined): number | null {
  if (!schedule) return null;
  const [minute = "*", hour = "*", day = "*", month = "*", weekday = "*"] = schedule
    .trim()
    .split(/\s+/)
    .slice(-5);
  if (month !== "*") return 366 * DAY;
  if (day !== "*" && weekday === "*") return 31 * DAY;
  if (weekday !== "*") return 7 * DAY;
  if (/^\d+$/.test(hour)) return DAY;
  if (hour !== "*") return DAY;
  return minute === "*" ? 3_600_000 / 60 : 3_600_000;
}
