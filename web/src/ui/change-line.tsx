import { Link } from "@tanstack/react-router";
import type { Change } from "@/api/types";
import { cx } from "@/lib/cx";
import { changedFields, changeMark, changeName } from "@/lib/words";
import { ChangeMark } from "./marks";
import { Time } from "./time";
import { AddressLink, NetworkLink, PortLink } from "./values";

/** One change as a sentence: what happened, where, from what to what, when. */
export function ChangeLine({
  change,
  withNetwork,
  compact,
}: {
  change: Change;
  withNetwork?: boolean;
  compact?: boolean;
}) {
  const mark = changeMark(change.kind);
  const fields = changedFields(change);
  return (
    <li
      className={cx(
        "grid grid-cols-[1rem_minmax(0,1fr)_auto] gap-x-2.5 border-b border-line/70 last:border-0 hover:bg-water-2",
        compact ? "px-4 py-1.5" : "px-4 py-2",
      )}
    >
      <span className="pt-1">
        <ChangeMark kind={mark} label={changeName(change.kind)} />
      </span>
      <div className="min-w-0">
        <div className="flex flex-wrap items-baseline gap-x-2">
          <span className="font-medium">{changeName(change.kind)}</span>
          <span className="whitespace-nowrap">
            <AddressLink ip={change.ip} hostId={change.host_id} />
            {change.port != null && (
              <>
                <span className="text-ink-3"> : </span>
                <PortLink port={change.port} protocol={change.protocol} />
              </>
            )}
          </span>
          {change.hostname && <span className="text-ink-2 foreign">{change.hostname}</span>}
          {withNetwork && (
            <span className="text-sm text-ink-3">
              in <NetworkLink id={change.network_id} name={change.network_name} />
            </span>
          )}
        </div>
        {fields.length > 0 && (
          <dl className="flex flex-wrap gap-x-4 text-sm text-ink-2">
            {fields.map((field) => (
              <div key={field.field} className="flex min-w-0 gap-1.5">
                <dt className="text-ink-3">{field.field}</dt>
                <dd className="foreign">
                  {field.before && mark === "changed" && (
                    <>
                      <del className="text-ink-3">{field.before}</del>{" "}
                      <span aria-label="became" className="text-ink-3">
                        →
                      </span>{" "}
                    </>
                  )}
                  {mark === "removed" ? field.before || field.after : field.after || "nothing"}
                </dd>
              </div>
            ))}
          </dl>
        )}
      </div>
      <div className="text-right text-sm text-ink-3">
        <Time at={change.at} />
        {change.scan_id != null && !compact && (
          <div>
            <Link
              to="/scans/$scanId"
              params={{ scanId: String(change.scan_id) }}
              className="hover:text-sea hover:underline"
            >
              scan {change.scan_id}
            </Link>
          </div>
        )}
      </div>
    </li>
  );
}
