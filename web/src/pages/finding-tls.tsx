import type { ReactNode } from "react";
import type { Certificate, SamePlace, TlsFinding } from "@/api/types";
import { cx } from "@/lib/cx";
import { isOldTls, validity } from "@/lib/finding";
import { useNow } from "@/lib/now";
import { Tag } from "@/ui/marks";
import { Facts } from "@/ui/page";
import { Time } from "@/ui/time";
import { AlsoOn, Fingerprint, mono, Part, told, wide } from "./finding-part";

/** What a TLS server agreed to and presented. */
export function Tls({ tls, places }: { tls: TlsFinding; places: readonly SamePlace[] }) {
  const [leaf, ...rest] = tls.certificates ?? [];
  return (
    <Part title={`TLS${tls.version ? `: ${tls.version}` : ""}`}>
      {tls.error && <p className="mb-2 text-ink-2 foreign">No handshake was completed: {tls.error}</p>}
      {leaf ? (
        <>
          <CertificateFacts certificate={leaf} />
          <AlsoOn places={places} fingerprint={`cert:${leaf.sha256}`} />
        </>
      ) : (
        <p className="text-ink-2">No certificate was shown.</p>
      )}
      <Facts
        className={cx(wide, "mt-3")}
        items={told([
          ["Versions it agrees to", <Versions key="v" versions={tls.versions ?? []} />],
          ["Cipher", mono(tls.cipher)],
          ["Protocol inside", mono(tls.alpn)],
          ["Wants a certificate of the client", tls.client_certificate_requested ? "yes" : "no"],
          ["JARM", tls.jarm && <Fingerprint kind="jarm" value={tls.jarm} />],
          ["JA3S", tls.ja3s && <Fingerprint kind="ja3s" value={tls.ja3s} />],
        ])}
      />
      {rest.length > 0 && <Chain certificates={rest} />}
    </Part>
  );
}

function Versions({ versions }: { versions: readonly string[] }) {
  if (versions.length === 0) return <span className="text-ink-3">not asked</span>;
  return (
    <span className="flex flex-wrap gap-1">
      {versions.map((version) => (
        <Tag key={version} tone={isOldTls(version) ? "bad" : "plain"}>
          {version}
          {isOldTls(version) && " (forbidden)"}
        </Tag>
      ))}
    </span>
  );
}

function CertificateFacts({ certificate }: { certificate: Certificate }) {
  return (
    <Facts
      className={wide}
      items={told([
        ["Certificate for", certificate.subject],
        [
          "Issued by",
          <span key="i">
            {certificate.issuer} {certificate.self_signed && <Tag tone="warn">self-signed</Tag>}
          </span>,
        ],
        ["Validity", <Validity key="e" certificate={certificate} />],
        ["Names", (certificate.alternative_names ?? []).join(", ")],
        ["Key", [certificate.key, certificate.signature].filter(Boolean).join(", ")],
        ["Serial number", mono(certificate.serial)],
        ["SHA-256", <Fingerprint key="f" kind="cert" value={certificate.sha256} />],
      ] as [string, ReactNode][])}
    />
  );
}

function Validity({ certificate }: { certificate: Certificate }) {
  const state = validity(certificate, useNow());
  return (
    <span className="inline-flex flex-wrap items-baseline gap-x-2">
      {state === "expired" ? "expired" : "expires"} <Moment at={certificate.not_after_ms} />
      {state === "expired" && <Tag tone="bad">expired</Tag>}
      {state === "soon" && <Tag tone="warn">soon</Tag>}
      {state === "early" && <Tag tone="bad">not valid yet</Tag>}
    </span>
  );
}

/** A time out of a certificate: beyond what a calendar holds, it is as good as never. */
function Moment({ at }: { at: number }) {
  const time = new Date(at);
  return Number.isNaN(time.getTime()) ? <>in another age</> : <Time at={time.toISOString()} />;
}

function Chain({ certificates }: { certificates: readonly Certificate[] }) {
  return (
    <div className="mt-3 min-w-0">
      <p className="text-sm font-semibold">Signed through</p>
      <ol>
        {certificates.map((each) => (
          <li key={each.sha256} className="foreign">
            {each.subject}{" "}
            <span className="text-sm text-ink-2">
              {[each.key, each.signature].filter(Boolean).join(", ")}, until <Moment at={each.not_after_ms} />
            </span>
          </li>
        ))}
      </ol>
    </div>
  );
}
