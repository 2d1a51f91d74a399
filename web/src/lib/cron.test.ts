import { describe, expect, it } from "vitest";
import { presetOf, previewRuns, timeIn } from "./cron";

describe("schedules", () => {
  it("are recognised by their line", () => {
    expect(presetOf("30  2 * * *")).toBe("30 2 * * *");
    expect(presetOf("")).toBe("");
    expect(presetOf("5 4 * * 2")).toBe("custom");
  });

  it("tell the time in a zone, on both sides of a clock change", () => {
    // Europe/Berlin goes from +2 to +1 on 2026-10-25 at 01:00 UTC.
    expect(timeIn(new Date("2026-10-25T00:30:00Z"), "Europe/Berlin")).toBe("2026-10-25 02:30");
    expect(timeIn(new Date("2026-10-25T01:30:00Z"), "Europe/Berlin")).toBe("2026-10-25 02:30");
    expect(timeIn(new Date("2026-10-25T00:30:00Z"), "Mars/Olympus")).toBeNull();
  });

  it("show the next runs here, there and from now", () => {
    const [run] = previewRuns(["2026-11-22T01:30:00Z"], "Asia/Tokyo", new Date("2026-11-21T23:30:00Z"));
    expect(run?.from).toBe("in 2 h");
    expect(run?.zoned ?? run?.local).toBe("2026-11-22 10:30");
  });

  it("do not repeat the zone's time where it is the local one", () => {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    expect(previewRuns(["2026-11-22T01:30:00Z"], zone, new Date(0))[0]?.zoned).toBeNull();
  });
});
