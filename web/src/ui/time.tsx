import { absoluteTime, parseTime, relativeTime } from "@/lib/format";
import { useNow } from "@/lib/now";
import { Tip } from "./tip";

/** A moment: relative to now, with the exact local time as its tip. */
export function Time({ at, exact }: { at: string | null | undefined; exact?: boolean }) {
  const now = useNow();
  if (!at) return <span className="text-ink-3">–</span>;
  const time = parseTime(at);
  if (Number.isNaN(time.getTime())) return <span className="foreign">{at}</span>;
  const absolute = absoluteTime(time);
  if (exact) {
    return (
      <time dateTime={time.toISOString()} className="figures whitespace-nowrap">
        {absolute}
      </time>
    );
  }
  return (
    <Tip text={<span className="figures">{absolute}</span>}>
      <time dateTime={time.toISOString()} className="whitespace-nowrap tabular-nums">
        {relativeTime(time, now)}
      </time>
    </Tip>
  );
}
