import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { alertQuery, meQuery, usersQuery } from "@/api/queries";
import type { Alert, ResolutionStatus } from "@/api/types";
import { assign, comment, setStatus, useAlertAction } from "@/lib/alert-actions";
import { firstScanOf, placesOf } from "@/lib/alert-places";
import { count, words } from "@/lib/format";
import { useCan } from "@/lib/session";
import { Button } from "@/ui/button";
import { Field, Select, Textarea } from "@/ui/field";
import { Facts } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { Time } from "@/ui/time";
import { HostLink, NetworkLink, PortLink } from "@/ui/values";

/** All there is to one alert, below its row. */
export function AlertDetails({ alert }: { alert: Alert }) {
  const canDecide = useCan("analyst");
  const { places, more } = placesOf(alert.detail);
  const inventory = firstScanOf(alert.detail);
  const elsewhere: [string, ReactNode][] =
    places.length > 1 ? [["Places", <Places key="w" places={places} more={more} />]] : [];
  const aboutHost: [string, ReactNode][] = alert.ip
    ? [
        [
          "Host",
          alert.host_id != null ? (
            <HostLink
              key="h"
              id={alert.host_id}
              name={alert.hostname ?? alert.ip ?? `host ${alert.host_id}`}
            />
          ) : (
            alert.ip
          ),
        ],
        [
          "Same port elsewhere",
          alert.port == null ? null : <PortLink key="p" port={alert.port} protocol={alert.protocol} />,
        ],
        ["Note on the host", alert.user_comment],
      ]
    : [];
  return (
    <div className="grid gap-x-8 gap-y-4 border-t border-line/70 bg-panel px-4 py-3 lg:grid-cols-2">
      <div className="flex min-w-0 flex-col gap-4">
        <Facts
          items={[
            ["Raised", <Time key="t" at={alert.created_at} exact />],
            ["Network", <NetworkLink key="n" id={alert.network_id} name={alert.network_name} />],
            ...aboutHost,
            ...elsewhere,
          ]}
        />
        {inventory && alert.network_id != null && (
          <p className="flex flex-wrap gap-x-4">
            <Link
              to="/ports"
              search={{ network: alert.network_id }}
              className="font-semibold text-sea hover:underline"
            >
              Review the open ports
            </Link>
            <Link to="/policy" search={{ network: alert.network_id }} className="text-sea hover:underline">
              Rules for what should be open
            </Link>
          </p>
        )}
        {alert.ip && (
          <p className="flex flex-wrap gap-x-4">
            <Link to="/changes" search={{ ip: alert.ip }} className="text-sea hover:underline">
              All changes of this address
            </Link>
            <Link to="/alerts" search={{ ip: alert.ip, show: "all" }} className="text-sea hover:underline">
              All its alerts
            </Link>
          </p>
        )}
        <History id={alert.id} />
        {canDecide && <Decide alert={alert} />}
      </div>
      <Comments alert={alert} />
    </div>
  );
}

/** Where all of an alert is that is about more than one place. */
function Places({ places, more }: { places: readonly string[]; more: number }) {
  return (
    // Long ones scroll, by keyboard too.
    <div role="group" aria-label="All places" tabIndex={0} className="max-h-48 overflow-y-auto">
      <ul aria-label="Places" className="figures foreign">
        {places.map((place) => (
          <li key={place}>{place}</li>
        ))}
        {more > 0 && <li>and {count(more)} more</li>}
      </ul>
    </div>
  );
}

function History({ id }: { id: number }) {
  const { data } = useQuery(alertQuery(id));
  if (!data || data.history.length === 0) return null;
  return (
    <section aria-label="History">
      <h3 className="label mb-1">What happened to it</h3>
      <ol className="text-sm text-ink-2">
        {data.history.map((entry, index) => (
          <li key={index} className="flex flex-wrap gap-x-2">
            <span>{words(entry.kind)}</span>
            {entry.user_email && <span className="text-ink-3 foreign">by {entry.user_email}</span>}
            <span className="text-ink-3">
              <Time at={entry.at} />
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Decide({ alert }: { alert: Alert }) {
  const { data: me } = useQuery(meQuery);
  const isAdmin = useCan("admin");
  const { data: users } = useQuery({ ...usersQuery, enabled: isAdmin });
  const status = useAlertAction(setStatus);
  const give = useAlertAction(assign);
  const people = users ?? (me ? [me] : []);
  const options = people.map((user) => ({ value: String(user.id), label: user.email }));
  if (alert.assigned_to_user_id != null && !people.some((user) => user.id === alert.assigned_to_user_id)) {
    options.push({ value: String(alert.assigned_to_user_id), label: alert.assigned_to_email ?? "someone" });
  }
  return (
    <div className="grid grid-cols-2 gap-3">
      <Field label="Status">
        <Select
          value={alert.resolution_status ?? "open"}
          onChange={(event) =>
            status.mutate({
              id: alert.id,
              status: event.target.value as ResolutionStatus,
            })
          }
          options={[
            { value: "open", label: "Open" },
            { value: "in_progress", label: "In progress" },
            { value: "resolved", label: "Resolved" },
          ]}
        />
      </Field>
      <Field label="Assigned to">
        <Select
          value={alert.assigned_to_user_id ?? ""}
          onChange={(event) => give.mutate({ id: alert.id, user_id: Number(event.target.value) || null })}
          options={[{ value: "", label: "Nobody" }, ...options]}
        />
      </Field>
    </div>
  );
}

function Comments({ alert }: { alert: Alert }) {
  const comments = useQuery(alertQuery(alert.id));
  const add = useAlertAction(comment);
  const canWrite = useCan("analyst");
  const [text, setText] = useState("");
  return (
    <section aria-label="Comments" className="flex min-w-0 flex-col gap-3">
      <Loaded query={comments} what="The comments" rows={2}>
        {({ comments: rows }) =>
          rows.length === 0 ? (
            <p className="text-ink-3">No comments.</p>
          ) : (
            <ol className="flex flex-col gap-2">
              {rows.map((entry) => (
                <li key={entry.id} className="border-l-2 border-line pl-3">
                  <p className="text-sm text-ink-3">
                    <span className="foreign">{entry.user_email}</span>, <Time at={entry.created_at} />
                  </p>
                  <p className="whitespace-pre-wrap foreign">{entry.comment}</p>
                </li>
              ))}
            </ol>
          )
        }
      </Loaded>
      {canWrite && (
        <form
          className="flex flex-col items-end gap-2"
          onSubmit={(event) => {
            event.preventDefault();
            if (text.trim())
              add.mutate({ id: alert.id, text: text.trim() }, { onSuccess: () => setText("") });
          }}
        >
          <Field label="Comment" className="w-full">
            <Textarea
              rows={2}
              maxLength={10000}
              value={text}
              onChange={(event) => setText(event.target.value)}
            />
          </Field>
          <Button small type="submit" busy={add.isPending} disabled={text.trim() === ""}>
            Add comment
          </Button>
        </form>
      )}
    </section>
  );
}
