import { expect, it } from "vitest";
import { coverageOf, longestGap } from "./coverage";

const now = new Date("2026-11-21T12:00:00Z");
const online = { online: true };
const nightly = { scan_schedule: "30 2 * * *" };
const done = (completed_at: string) => ({ status: "completed", completed_at });

it.each([
  ["without an agent", nightly, done("2026-11-21T02:40:00Z"), null, "no agent"],
  ["never scanned", nightly, null, online, "never scanned"],
  ["agent silent", nightly, done("2026-11-21T02:40:00Z"), { online: false }, "agent offline"],
  ["in time", nightly, done("2026-11-21T02:40:00Z"), online, "up to date"],
  ["one night missed", nightly, done("2026-11-20T02:40:00Z"), online, "overdue"],
  ["by hand, lately", { scan_schedule: null }, done("2026-11-02T02:40:00Z"), online, "up to date"],
  ["by hand, long ago", { scan_schedule: null }, done("2026-09-02T02:40:00Z"), online, "old"],
])("%s", (_, network, scan, agent, text) => {
  expect(coverageOf(network, scan, agent, now).text).toBe(text);
});

it("reads about how often a schedule runs", () => {
  const hour = 3_600_000;
  expect(longestGap("0 * * * *")).toBe(hour);
  expect(longestGap("30 2 * * *")).toBe(24 * hour);
  expect(longestGap("30 2 * * 1")).toBe(7 * 24 * hour);
  expect(longestGap("0 4 1 * *")).toBe(31 * 24 * hour);
  expect(longestGap(null)).toBeNull();
});
