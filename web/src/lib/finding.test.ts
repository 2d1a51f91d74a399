import { expect, test } from "vitest";
import { evidenceBySource, validity } from "./finding";

const now = new Date("2026-05-01T00:00:00Z");
const day = 86_400_000;

test("tells how long a certificate holds", () => {
  const from = now.getTime() - day;
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() - 1 }, now)).toBe("expired");
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() + 29 * day }, now)).toBe("soon");
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() + 31 * day }, now)).toBe("good");
  expect(validity({ not_before_ms: now.getTime() + day }, now)).toBe("early");
});

test("gathers evidence of one source and entry", () => {
  const sources = evidenceBySource([
    { field: "service", source: "ssh.banner", entry: "ssh/openssh" },
    { field: "version", source: "ssh.banner", entry: "ssh/openssh" },
    { field: "os", source: "layout of the SYN-ACK's options" },
  ]);
  expect(sources.map(({ fields, entry }) => [fields.join(", "), entry])).toEqual([
    ["Service, version", "ssh/openssh"],
    ["OS", undefined],
  ]);
});
