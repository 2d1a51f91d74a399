import { absoluteTime, parseTime, relativeTime } from "./format";

/** Schedules that most people want, with the line that says so. */
export const schedulePresets = [
  { value: "", label: "By hand only" },
  { value: "0 * * * *", label: "Every hour" },
  { value: "0 */6 * * *", label: "Every six hours" },
  { value: "30 2 * * *", label: "Every night at 02:30" },
  { value: "30 2 * * 1-5", label: "Weeknights at 02:30" },
  { value: "0 3 * * 0", label: "Sundays at 03:00" },
  { value: "0 4 1 * *", label: "The first of the month at 04:00" },
] as const;

/** The preset that a schedule is, or "custom". */
export function presetOf(schedule: string): string {
  const line = schedule.trim().replace(/\s+/g, " ");
  return schedulePresets.find((preset) => preset.value === line)?.value ?? "custom";
}

/** The next runs, each as local time, as time in the schedule's zone where that differs, and from now. */
export function previewRuns(
  runs: readonly string[],
  timeZone: string,
  now: Date,
): { local: string; zoned: string | null; from: string }[] {
  return runs.map((run) => {
    const time = parseTime(run);
    const local = absoluteTime(time).slice(0, 16);
    const zoned = timeIn(time, timeZone);
    return { local, zoned: zoned === local ? null : zoned, from: relativeTime(time, now) };
  });
}

/** Date and time of day in a time zone; null where the zone is not known here. */
export function timeIn(time: Date, timeZone: string): string | null {
  try {
    const parts = new Intl.DateTimeFormat("en-GB", {
      timeZone,
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
    }).formatToParts(time);
    const part = (type: string) => parts.find((each) => each.type === type)?.value ?? "";
    return `${part("year")}-${part("month")}-${part("day")} ${part("hour")}:${part("minute")}`;
  } catch {
    return null;
  }
}

/** Time zones that this browser knows, the local one and UTC first. */
export function timeZones(): string[] {
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = Intl.supportedValuesOf("timeZone");
  return [...new Set([local, "UTC", ...known])].filter(Boolean);
}
