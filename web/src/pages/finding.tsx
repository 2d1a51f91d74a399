import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { portQuery } from "@/api/queries";
import type { Certificate, Finding, SshAlgorithm, SshFinding, TlsFinding } from "@/api/types";
import { cx } from "@/lib/cx";
import { evidenceBySource, validity } from "@/lib/finding";
import { useNow } from "@/lib/now";
import { words } from "@/lib/format";
import { Tag } from "@/ui/marks";
import { Facts } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { Time } from "@/ui/time";

/** All that is known of the service at a port, and why it is believed. */
export function FindingOf({ portId }: { portId: number }) {
  const port = useQuery(portQuery(portId));
  return (
    <Loaded query={port} what="What is known of it" rows={3}>
      {({ service, intervals }) => {
        const finding = service as Finding | null | undefined;
        if (!finding) {
          return <p className="text-ink-2">Only that it is open: nobody has talked to it yet.</p>;
        }
        return (
          <div className="flex min-w-0 flex-col gap-4">
            {finding.banner && (
              <Part title="It says">
                <p className="figures foreign max-h-24 overflow-y-auto whitespace-pre-wrap text-ink-2">
                  {finding.banner}
                </p>
              </Part>
            )}
            {finding.tls && <Tls tls={finding.tls} />}
            {finding.ssh && <Ssh ssh={finding.ssh} />}
            <Others finding={finding} />
            <Evidence finding={finding} />
            {intervals.length > 1 && (
              <Part title="Open before">
                <ul>
                  {intervals
                    .filter((stretch) => stretch.closed_at != null)
                    .map((stretch) => (
                      <li key={stretch.id}>
                        <Time at={stretch.first_seen_at} exact /> to <Time at={stretch.closed_at} exact />
                      </li>
                    ))}
                </ul>
              </Part>
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

function Part({ title, children }: { title: ReactNode; children: ReactNode }) {
  return (
    <section className="min-w-0">
      <h3 className="label mb-1">{title}</h3>
      {children}
    </section>
  );
}

// Names, digests and CPEs are long.
const wide = "sm:grid-cols-[repeat(auto-fill,minmax(17rem,1fr))]!";

const mono = (text: string | undefined) => text && <span className="figures break-all">{text}</span>;

function Tls({ tls }: { tls: TlsFinding }) {
  const [leaf, ...rest] = tls.certificates ?? [];
  return (
    <Part title={`TLS${tls.version ? `: ${tls.version}` : ""}`}>
      {leaf ? (
        <CertificateFacts certificate={leaf} />
      ) : (
        <p className="text-ink-2">No certificate was shown.</p>
      )}
      <Facts
        className={cx(wide, "mt-3")}
        items={[
          ["Cipher", mono(tls.cipher)],
          ["Wants a certificate of the client", tls.client_certificate_requested ? "yes" : "no"],
          ...(rest.length > 0
            ? ([["Signed through", rest.map((each) => each.subject).join("; ")]] as [string, ReactNode][])
            : []),
        ]}
      />
    </Part>
  );
}

function CertificateFacts({ certificate }: { certificate: Certificate }) {
  const now = useNow();
  const state = validity(certificate, now);
  return (
    <Facts
      className={wide}
      items={[
        ["Certificate for", certificate.subject],
        [
          "Issued by",
          <span key="i">
            {certificate.issuer} {certificate.self_signed && <Tag tone="warn">self-signed</Tag>}
          </span>,
        ],
        [
          state === "expired" ? "Expired" : "Expires",
          certificate.not_after_ms == null ? null : (
            <span key="e" className="inline-flex flex-wrap items-baseline gap-x-2">
              <Time at={new Date(certificate.not_after_ms).toISOString()} />
              {state === "expired" && <Tag tone="bad">expired</Tag>}
              {state === "soon" && <Tag tone="warn">soon</Tag>}
              {state === "early" && <Tag tone="bad">not valid yet</Tag>}
            </span>
          ),
        ],
        ["Names", (certificate.alternative_names ?? []).join(", ") || null],
        ["Key", [certificate.key, certificate.signature].filter(Boolean).join(", ") || null],
        ["SHA-256", mono(certificate.sha256)],
      ]}
    />
  );
}

function Ssh({ ssh }: { ssh: SshFinding }) {
  const groups: [string, readonly SshAlgorithm[]][] = [
    ["Ciphers", ssh.ciphers ?? []],
    ["Key exchanges", ssh.kex_algorithms ?? []],
    ["Authentication codes", ssh.mac_algorithms ?? []],
  ];
  return (
    <Part title="SSH offers">
      <div className="grid gap-x-6 gap-y-3 sm:grid-cols-2 xl:grid-cols-4">
        {groups.map(([name, algorithms]) => (
          <Algorithms key={name} name={name} algorithms={algorithms} />
        ))}
        <div className="min-w-0">
          <p className="text-sm font-semibold">Host keys</p>
          <p className="figures break-all">{(ssh.host_key_types ?? []).join(", ") || "not told"}</p>
          {ssh.auth_methods && (
            <>
              <p className="mt-2 text-sm font-semibold">Ways to sign in</p>
              <p className="figures">{ssh.auth_methods.join(", ") || "none"}</p>
            </>
          )}
        </div>
      </div>
    </Part>
  );
}

function Algorithms({ name, algorithms }: { name: string; algorithms: readonly SshAlgorithm[] }) {
  const weak = algorithms.filter((each) => each.is_weak);
  const strong = algorithms.filter((each) => !each.is_weak);
  return (
    <div className="min-w-0">
      <p className="text-sm font-semibold">{name}</p>
      <ul>
        {weak.map((each) => (
          <li key={each.name}>
            <Tag tone="bad">weak</Tag> <span className="figures break-all">{each.name}</span>
            {each.notes && each.notes.length > 0 && (
              <p className="text-sm text-ink-2 foreign">
                {each.notes.map((note) => note.replace(/^\[\w+\] /, "")).join("; ")}
              </p>
            )}
          </li>
        ))}
        {strong.map((each) => (
          <li key={each.name} className="figures break-all text-ink-2">
            {each.name}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** What else the service told of itself, where it told something. */
function Others({ finding }: { finding: Finding }) {
  const { http } = finding;
  const items: [string, ReactNode][] = [
    ["Operating system", finding.os],
    ["Device", finding.device],
    ["Package revision", mono(finding.revision)],
    ["Name of itself", finding.hostname],
    ["More", finding.info],
    ["HTTP status", http?.status],
    ["Page title", http?.title],
    ["Server header", mono(http?.server)],
    ["Sends on to", mono(http?.location)],
    ["Asks for a password to", http?.realm],
    ["Technologies", http?.technologies?.join(", ")],
    ["CPE", finding.cpe && mono(finding.cpe.join(" "))],
  ];
  const told = items.filter(([, value]) => value != null && value !== "");
  if (told.length === 0) return null;
  return (
    <Part title="Also told">
      <Facts className={wide} items={told} />
    </Part>
  );
}

function Evidence({ finding }: { finding: Finding }) {
  const sources = evidenceBySource(finding.evidence ?? []);
  const others = finding.alternatives ?? [];
  return (
    <Part
      title={
        finding.confidence == null
          ? "Why it is believed"
          : `Why it is believed: ${finding.confidence} of 100 sure`
      }
    >
      {sources.length === 0 ? (
        <p className="text-ink-2">
          {finding.verdict
            ? `${words(finding.verdict)}: nothing in the database knows its answers.`
            : "Not told."}
        </p>
      ) : (
        <ul>
          {sources.map(({ key, source, entry, fields }) => (
            <li key={key} className="foreign">
              {fields.join(", ")} <span className="text-ink-3">from</span>{" "}
              <span className="figures">{source}</span>
              {entry && (
                <>
                  {" "}
                  <span className="text-ink-3">by the entry</span> <span className="figures">{entry}</span>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {others.length > 0 && (
        <p className="mt-1 text-ink-2 foreign">
          Could also be{" "}
          {others
            .map(
              (each) => `${each.product ? `${each.product} (${each.name})` : each.name}, ${each.confidence}`,
            )
            .join("; ")}
          .
        </p>
      )}
    </Part>
  );
}
