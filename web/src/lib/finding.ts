import type { Certificate, Finding, SshFinding } from "@/api/types";
import { words } from "./format";

const SOON_MS = 30 * 86_400_000;

/** Whether a certificate holds now, and whether it does for another 30 days. */
export function validity(
  { not_before_ms, not_after_ms }: Partial<Pick<Certificate, "not_before_ms" | "not_after_ms">>,
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
  entry: string | null | undefined;
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

const verdicts: Record<Finding["verdict"], string> = {
  "closed-after-accept": "It accepts connections and closes them without a word.",
  identified: "It was recognised.",
  "needs-client-certificate": "It talks only to those who show a certificate of their own.",
  "not-probed": "Nothing was sent to it: the policy forbids that for ports of printers and machines.",
  silent: "It accepts connections and says nothing to anything.",
  "syn-proxy":
    "Like every port of its host it accepts and says nothing: a SYN proxy in front of it, or a trap.",
  tarpit: "A trap: it drips or never ends, so that whoever talks to it is held up. No service.",
  unreachable: "It no longer accepted connections when it was to be asked.",
  unrecognised: "It answered, and nothing in the database knows its answers.",
};

/** How the conversation with a service ended, in a sentence. */
export function verdictText(verdict: Finding["verdict"]): string {
  return verdicts[verdict] ?? words(verdict);
}

/**
 * The words in what a service said first. Protocols that are not made of text leave runs of replacement characters, each
 * shown as one dot; null where no word is left.
 */
export function legible(banner: string | null | undefined): string | null {
  const said = (banner ?? "")
    .replace(/[\s\uFFFD\0]+/g, (run) => (/[\uFFFD\0]/.test(run) ? " · " : run))
    .trim();
  return /[\p{L}\p{N}_]{3}/u.test(said) ? said : null;
}

/** Things that say the same, together, in the order of the first of each. */
export function alike<T>(things: readonly T[], by: (thing: T) => unknown): T[][] {
  const groups = new Map<string, T[]>();
  for (const thing of things) {
    const key = JSON.stringify(by(thing));
    groups.set(key, [...(groups.get(key) ?? []), thing]);
  }
  return [...groups.values()];
}

/** Whether RFC 7568 or RFC 8996 forbids this version. */
export function isOldTls(version: string): boolean {
  return ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"].includes(version);
}

/** A note without the mark of its seriousness that other tools put before it. */
export function note(text: string): string {
  return text.replace(/^\[\w+\] /, "");
}

/** A server's keys, each once: those with kind and size, then what is known by fingerprint alone. */
export function sshKeys(ssh: SshFinding): {
  kind?: string;
  bits?: number | null | undefined;
  fingerprint: string;
  is_weak?: boolean;
  notes?: string[] | undefined;
}[] {
  const known = ssh.keys ?? [];
  const bare = (ssh.host_keys ?? []).filter((each) => !known.some((key) => key.fingerprint === each));
  return [...known, ...bare.map((fingerprint) => ({ fingerprint }))];
}

interface Layer {
  role: string;
  name: string;
}

/** Who answers before whom, outermost first: encryption, web servers by their own names, what runs behind them. */
export function layers({ tls, http }: Pick<Finding, "tls" | "http">): Layer[] {
  const servers = http?.servers ?? [];
  return [
    ...(tls?.version ? [{ role: "Encryption", name: tls.version }] : []),
    ...servers.map((name) => ({ role: servers.length > 1 ? "Server or proxy" : "Server", name })),
    ...(http?.technologies ?? []).map((name) => ({ role: "Application", name })),
  ];
}
