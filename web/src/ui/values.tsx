import { Link } from "@tanstack/react-router";
import { Fragment } from "react";
import { cx } from "@/lib/cx";

/*
 * Values that are links to what has the same value. They look like text until they are pointed at, so that
 * a table of them stays calm.
 */

const look =
  "rounded-sm decoration-line-strong underline-offset-3 hover:text-sea hover:underline hover:decoration-current";

export function AddressLink({
  ip,
  hostId,
  className,
}: {
  ip: string;
  hostId?: number | null;
  className?: string;
}) {
  if (hostId != null) {
    return (
      <Link
        to="/hosts/$hostId"
        params={{ hostId: String(hostId) }}
        className={cx(look, "figures foreign", className)}
      >
        {ip}
      </Link>
    );
  }
  return (
    <Link to="/ports" search={{ ip }} className={cx(look, "figures foreign", className)}>
      {ip}
    </Link>
  );
}

export function PortLink({ port, protocol }: { port: number; protocol?: string | null }) {
  return (
    <Link to="/ports" search={{ port: String(port) }} className={cx(look, "figures whitespace-nowrap")}>
      {port}
      {protocol && <span className="text-ink-3">/{protocol}</span>}
    </Link>
  );
}

export function ServiceLink({ service }: { service: string | null | undefined }) {
  if (!service) return <span className="text-ink-3">not identified</span>;
  return (
    <Link to="/ports" search={{ service }} className={cx(look, "foreign")}>
      {service}
    </Link>
  );
}

export function NetworkLink({
  id,
  name,
}: {
  id: number | null | undefined;
  name: string | null | undefined;
}) {
  if (id == null) return <span className="text-ink-3">{name ?? "all networks"}</span>;
  return (
    <Link to="/networks/$networkId" params={{ networkId: String(id) }} className={cx(look, "foreign")}>
      {name ?? `network ${id}`}
    </Link>
  );
}

export function HostLink({ id, name }: { id: number; name: string }) {
  return (
    <Link to="/hosts/$hostId" params={{ hostId: String(id) }} className={cx(look, "foreign")}>
      {name}
    </Link>
  );
}

/** Product and version on one line. */
export function Product({ product, version }: { product?: string | null; version?: string | null }) {
  if (!product && !version) return <span className="text-ink-3">–</span>;
  return (
    <span className="foreign">
      {product}
      {version && <span className="figures text-ink-2"> {version}</span>}
    </span>
  );
}

/** A port specification that breaks after commas only. */
export function PortSpec({ spec }: { spec: string }) {
  return (
    <span className="figures">
      {spec.split(",").map((part, index) => (
        <Fragment key={index}>
          {index > 0 && (
            <>
              ,<wbr />
            </>
          )}
          <span className="whitespace-nowrap">{part}</span>
        </Fragment>
      ))}
    </span>
  );
}
