import type { Certificate, Finding } from "@/api/types";
import { words } from "./format";

const SOON_MS = 30 * 86_400_000;

/** Whether a certificate holds now, and whether it does for another 30 days. */
export function validity(
  { not_before_ms, not_after_ms }: Pick<Certificate, "not_before_ms" | "not_after_ms">,
  now: Date,
): "good" | "soon" | "expired" | "early" {
  const at = now.getTime();
  if (not_after_ms != null && not_after_ms < at) return "expired";
  if (not_before_ms != null && not_before_ms > at) return "early";
  return not_after_ms != null && not_after_ms < at + SOON_MS ? "soon" : "good";
}

interface Source {
  key: string;
  source: string;
  entry: string | undefined;
  fields: string[];
}

/** The fields that were read in the same place by the same entry, together. */
export function evidenceBySource(evidence: NonNullable<Finding["evidence"]>): Source[] {
  const sources = new Map<string, Source>();
  for (const { field, source, entry } of evidence) {
    const key = `${source} ${entry ?? ""}`;
    const known = sources.get(key) ?? { key, source, entry, fields: [] };
    known.fields.push(
      known.fields.length === 0 || field === "os" ? words(field) : words(field).toLowerCase(),
    );
    sources.set(key, known);
  }
  return [...sources.values()];
}
