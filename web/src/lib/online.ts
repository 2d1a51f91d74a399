import { parseTime } from "./format";

const SILENT_SECONDS = 300;

/** Whether an agent was heard of in the last five minutes. */
export function isOnline(agent: { last_seen_at?: string | null | undefined }, now: Date): boolean {
  if (!agent.last_seen_at) return false;
  return now.getTime() - parseTime(agent.last_seen_at).getTime() < SILENT_SECONDS * 1000;
}
