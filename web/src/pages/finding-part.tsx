import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { SamePlace } from "@/api/types";
import { AddressLink } from "@/ui/values";

/** A titled part of what is known of a service. */
export function Part({ title, children }: { title: ReactNode; children: ReactNode }) {
  return (
    <section className="min-w-0">
      <h3 className="label mb-1">{title}</h3>
      {children}
    </section>
  );
}

/** For facts whose values are long: names, digests, CPEs. */
export const wide = "sm:grid-cols-[repeat(auto-fill,minmax(17rem,1fr))]!";

export const mono = (text: string | null | undefined) =>
  text ? <span className="figures break-all">{text}</span> : null;

/** The facts that were told, the others left out. */
export function told(items: [string, ReactNode][]): [string, ReactNode][] {
  return items.filter(([, value]) => value != null && value !== "" && value !== false);
}

/** A fingerprint as a link to the ports that show the same. */
export function Fingerprint({ kind, value }: { kind: string; value: string | null | undefined }) {
  if (!value) return null;
  return (
    <Link
      to="/ports"
      search={{ fingerprint: `${kind}:${value}` }}
      title="Ports that show the same"
      className="figures rounded-sm break-all underline decoration-line-strong underline-offset-3 hover:text-sea hover:decoration-current"
    >
      {value}
    </Link>
  );
}

/** Other places with the same key or certificate. */
export function AlsoOn({ places, fingerprint }: { places: readonly SamePlace[]; fingerprint: string }) {
  const same = places.filter((place) => place.fingerprint === fingerprint);
  if (same.length === 0) return null;
  return (
    <p className="text-sm">
      <span className="font-semibold">Also on</span>{" "}
      {same.map((place, index) => (
        <span key={place.port_id}>
          {index > 0 && ", "}
          <AddressLink ip={place.ip} hostId={place.host_id ?? null} />
          <span className="figures text-ink-2">
            :{place.port}/{place.protocol}
          </span>
          {place.hostname && <span className="text-ink-2 foreign"> {place.hostname}</span>}
        </span>
      ))}
    </p>
  );
}
