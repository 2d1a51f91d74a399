import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { ChevronRight, Pencil, Radar } from "lucide-react";
import { useId, useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { hostQuery } from "@/api/queries";
import type { Host, HostOverview, OpenPort } from "@/api/types";
import { cx } from "@/lib/cx";
import { count, plural } from "@/lib/format";
import { alike, legible } from "@/lib/finding";
import { useCan } from "@/lib/session";
import { alertTitle } from "@/lib/words";
import { Button, buttonLook, IconButton } from "@/ui/button";
import { ChangeLine } from "@/ui/change-line";
import { Dialog } from "@/ui/dialog";
import { Field, Input, Textarea } from "@/ui/field";
import { SeverityMark, StateMark, Tag } from "@/ui/marks";
import { Facts, Page, Section } from "@/ui/page";
import { PortRuler } from "@/ui/ruler";
import { Empty, Loaded } from "@/ui/states";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { NetworkLink, PortLink, Product, ServiceLink } from "@/ui/values";
import { FindingOf } from "./finding";
import { Fingerprint } from "./finding-part";
import { announcedFacts, ntlmFacts } from "./finding-told";

const route = getRouteApi("/app/hosts/$hostId");

export function HostPage() {
  const id = Number(route.useParams().hostId);
  const overview = useQuery(hostQuery(id));
  return (
    <Loaded query={overview} what="The host" rows={8}>
      {(data) => <HostView overview={data} />}
    </Loaded>
  );
}

function HostView({ overview }: { overview: HostOverview }) {
  const { host, ports, networks, alerts, ssh_servers, recent_scans, timeline } = overview;
  const navigate = useNavigate();
  const canRun = useCan("operator");
  const [editing, setEditing] = useState(false);
  const rescan = useMutation({
    mutationFn: () =>
      call(client.POST("/api/hosts/{host_id}/rescan", { params: { path: { host_id: host.ip } } })),
    onSuccess: (scan) => navigate({ to: "/scans/$scanId", params: { scanId: String(scan.scan_id) } }),
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });

  return (
    <Page
      title={host.hostname ?? host.ip}
      heading={host.hostname ?? <span className="figures">{host.ip}</span>}
      lead={
        <span className="inline-flex flex-wrap items-center gap-x-3">
          {host.hostname && <span className="figures">{host.ip}</span>}
          {host.is_pingable !== null && (
            <StateMark
              state={host.is_pingable ? "online" : "open"}
              label={host.is_pingable ? "answers to ping" : "no answer to ping"}
            />
          )}
        </span>
      }
      actions={
        canRun && (
          <>
            <Button icon={<Pencil className="size-4" aria-hidden />} onClick={() => setEditing(true)}>
              Name and note
            </Button>
            <Button
              kind="primary"
              icon={<Radar className="size-4" aria-hidden />}
              busy={rescan.isPending}
              onClick={() => rescan.mutate()}
            >
              Scan this host
            </Button>
          </>
        )
      }
    >
      {host.user_comment && (
        <p className="border-l-[3px] border-line-strong px-3 whitespace-pre-wrap foreign">
          {host.user_comment}
        </p>
      )}
      {alerts.length > 0 && (
        <Section
          title={`${plural(alerts.length, "open alert")}`}
          bare
          actions={
            <Link to="/alerts" search={{ ip: host.ip, show: "all" }} className={buttonLook("quiet", true)}>
              All alerts of this host
            </Link>
          }
        >
          <ul>
            {alerts.slice(0, 8).map((alert) => (
              <li key={alert.id} className="border-b border-line/70 last:border-0">
                <Link
                  to="/alerts"
                  search={{ ip: host.ip, id: alert.id }}
                  className="flex items-start gap-3 px-4 py-2 hover:bg-water-2"
                >
                  <span className="w-22 shrink-0 text-sm">
                    <SeverityMark severity={alert.severity} />
                  </span>
                  <span className="min-w-0 flex-1 foreign">
                    <span className="font-semibold">{alertTitle(alert)}</span>{" "}
                    <span className="text-ink-2">{alert.message}</span>
                  </span>
                  <span className="shrink-0 text-sm text-ink-3">
                    <Time at={alert.created_at} />
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title="Services" note={`${count(ports.length)} open ports`} bare>
        <div className="border-b border-line px-4 pt-3 pb-2">
          <PortRuler
            ticks={ports.map((port) => ({ port: port.port }))}
            label={`${count(ports.length)} open ports between 1 and 65535`}
          />
        </div>
        {ports.length === 0 ? (
          <Empty title="No open port known">Nothing was open here when it was last scanned.</Empty>
        ) : (
          <ul aria-label="Services">
            {ports
              .toSorted((a, b) => a.port - b.port)
              .map((port) => (
                <ServiceRow key={port.id} port={port} />
              ))}
          </ul>
        )}
      </Section>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
        <Section
          title="What changed here"
          bare
          actions={
            <Link to="/changes" search={{ ip: host.ip }} className={buttonLook("quiet", true)}>
              All changes
            </Link>
          }
        >
          {timeline.length === 0 ? (
            <Empty title="No changes">It looks as it did when it was first seen.</Empty>
          ) : (
            <ul>
              {timeline.map((change) => (
                <ChangeLine key={change.id} change={change} withNetwork={networks.length > 1} />
              ))}
            </ul>
          )}
        </Section>
        <div className="flex min-w-0 flex-col gap-4">
          <Section title="Identity">
            <Facts
              className="grid-cols-2!"
              items={[
                [
                  "Address",
                  <span key="a" className="figures">
                    {host.ip}
                  </span>,
                ],
                ["Name", host.hostname],
                [
                  "Hardware address",
                  host.mac_address && (
                    <span key="m" className="figures">
                      {host.mac_address}
                    </span>
                  ),
                ],
                ["Made by", host.mac_vendor],
                ["Operating system", host.os],
                [
                  "Device",
                  host.device_type &&
                    (host.device_confidence == null
                      ? host.device_type
                      : `${host.device_type}, ${host.device_confidence} of 100 sure`),
                ],
                ["First seen", <Time key="f" at={host.first_seen_at} />],
                ["Last seen", <Time key="l" at={host.last_seen_at} />],
                [
                  "Networks",
                  <span key="n" className="flex flex-col">
                    {networks.map((network) => (
                      <NetworkLink key={network.id} id={network.id} name={network.name} />
                    ))}
                  </span>,
                ],
              ]}
            />
          </Section>
          <WhatItIs overview={overview} />
          <Announcements overview={overview} />
          {ssh_servers.map((ssh) => (
            <Ssh key={ssh.port} ssh={ssh} />
          ))}
          <Section title="Recent scans" bare>
            <ul>
              {recent_scans.map((scan) => (
                <li key={scan.id} className="border-b border-line/70 last:border-0">
                  <Link
                    to="/scans/$scanId"
                    params={{ scanId: String(scan.id) }}
                    className="flex items-center gap-2.5 px-4 py-1.5 hover:bg-water-2"
                  >
                    <StateMark state={scan.status} bare />
                    <span className="figures">{scan.id}</span>
                    <span className="min-w-0 flex-1 truncate text-ink-2">{scan.network_name}</span>
                    <span className="text-sm text-ink-3">
                      <Time at={scan.completed_at ?? scan.started_at} />
                    </span>
                  </Link>
                </li>
              ))}
              {recent_scans.length === 0 && <li className="px-4 py-3 text-ink-3">None.</li>}
            </ul>
          </Section>
        </div>
      </div>
      {editing && <EditHost host={host} onClose={() => setEditing(false)} />}
    </Page>
  );
}

/** A service in a line; opened, all that is known of it. */
function ServiceRow({ port }: { port: OpenPort }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <li className="border-b border-line/70 last:border-0">
      <div className="grid grid-cols-[1.5rem_5.5rem_minmax(0,1fr)_auto] items-baseline gap-x-2 px-3 py-1.5 hover:bg-water-2 md:grid-cols-[1.5rem_5.5rem_8rem_minmax(0,14rem)_minmax(0,1fr)_auto]">
        <IconButton
          small
          label={`${open ? "Less" : "More"} about port ${port.port}/${port.protocol}`}
          aria-expanded={open}
          aria-controls={open ? id : undefined}
          className="self-start"
          onClick={() => setOpen(!open)}
        >
          <ChevronRight className={cx("size-4 transition-transform", open && "rotate-90")} aria-hidden />
        </IconButton>
        <PortLink port={port.port} protocol={port.protocol} />
        <ServiceLink service={port.service_guess} />
        <span className="max-md:col-start-3 max-md:row-start-2">
          {(port.product || port.version) && <Product product={port.product} version={port.version} />}
        </span>
        <span className="figures truncate text-ink-2 foreign max-md:hidden">{legible(port.banner)}</span>
        <span className="text-right text-sm text-ink-3 max-md:col-start-4 max-md:row-start-1">
          since <Time at={port.first_seen_at} />
        </span>
      </div>
      {open && (
        <div id={id} className="border-t border-line/70 bg-water-2 px-4 py-3 sm:pl-11">
          <FindingOf portId={port.id} />
        </div>
      )}
    </li>
  );
}

/** Why the host is taken for what it is taken for, and what else says who it is. */
function WhatItIs({ overview: { device_reasons, identifiers } }: { overview: HostOverview }) {
  return (
    <Section title="Why it is taken for that">
      {device_reasons.length === 0 ? (
        <p className="text-ink-2">No service told what the host is.</p>
      ) : (
        <ul>
          {device_reasons.map((reason, index) => (
            <li key={index} className="flex items-baseline justify-between gap-x-3">
              <span className="min-w-0 foreign">{reason.text}</span>
              {reason.points > 0 && (
                <span className="figures shrink-0 text-sm text-ink-3" title="Weight for the kind of device">
                  +{reason.points}
                </span>
              )}
            </li>
          ))}
        </ul>
      )}
      {identifiers.length > 0 && (
        <div className="mt-3 min-w-0">
          <p className="label mb-1">Known by</p>
          <ul>
            {identifiers.map((each) => (
              <li key={`${each.kind} ${each.value}`} className="min-w-0 foreign">
                <span className="text-ink-3">{identifierNames[each.kind] ?? each.kind}</span>{" "}
                <Identifier kind={each.kind} value={each.value} />
              </li>
            ))}
          </ul>
        </div>
      )}
    </Section>
  );
}

const identifierNames: Record<string, string> = {
  certificate: "certificate",
  mac: "hardware address",
  name: "name",
  serial: "serial number",
  ssh_host_key: "SSH host key",
};

/** What can be shown by other places too is a link to them. */
function Identifier({ kind, value }: { kind: string; value: string }) {
  if (kind === "certificate") return <Fingerprint kind="cert" value={value} />;
  if (kind === "ssh_host_key") return <Fingerprint kind="ssh-key" value={value} />;
  return <span className="figures break-all">{value}</span>;
}

/** What the host's services say of it. */
function Announcements({ overview: { announcements } }: { overview: HostOverview }) {
  if (announcements.length === 0) return null;
  return (
    <Section title="Names it announces">
      <ul className="flex flex-col gap-3">
        {alike(announcements, ({ service_guess, hostname, announced, ntlm }) => [
          service_guess,
          hostname,
          announced,
          ntlm,
        ]).map((same) => same[0] && <Announcer key={same[0].port} first={same[0]} same={same} />)}
      </ul>
    </Section>
  );
}

type Announcer = HostOverview["announcements"][number];

/** What a service says of its host, at all the ports where it says the same. */
function Announcer({ first, same }: { first: Announcer; same: readonly Announcer[] }) {
  const { service_guess, hostname, announced, ntlm } = first;
  return (
    <li className="min-w-0">
      <p className="label mb-1">
        {service_guess ?? "Service"} at {same.map(({ port, protocol }) => `${port}/${protocol}`).join(", ")}
      </p>
      <Facts
        className="grid-cols-2!"
        items={[
          ...(hostname ? ([["Host name", hostname]] as [string, string][]) : []),
          ...(announced ? announcedFacts(announced) : []),
          ...(ntlm ? ntlmFacts(ntlm) : []),
        ]}
      />
    </li>
  );
}

function Ssh({ ssh }: { ssh: NonNullable<HostOverview["ssh"]> }) {
  const weak = ssh.has_weak_ciphers || ssh.has_weak_kex;
  return (
    <Section title="SSH" note={`port ${ssh.port}`}>
      <Facts
        className="grid-cols-2!"
        items={[
          [
            "Software",
            ssh.ssh_version && (
              <span key="v" className="figures">
                {ssh.ssh_version}
              </span>
            ),
          ],
          ["Audited", <Time key="t" at={ssh.last_scanned} />],
          [
            "Ways to sign in",
            <span key="w" className="flex flex-wrap gap-1">
              {ssh.publickey_enabled && <Tag tone="good">public key</Tag>}
              {ssh.password_enabled && <Tag tone="warn">password</Tag>}
              {ssh.keyboard_interactive_enabled && <Tag tone="warn">keyboard-interactive</Tag>}
              {!ssh.publickey_enabled &&
                !ssh.password_enabled &&
                !ssh.keyboard_interactive_enabled &&
                "not told"}
            </span>,
          ],
          [
            "Algorithms",
            <span key="c" className="flex flex-wrap gap-1">
              {ssh.has_weak_ciphers && <Tag tone="bad">weak cipher</Tag>}
              {ssh.has_weak_kex && <Tag tone="bad">weak key exchange</Tag>}
              {!weak && <Tag tone="good">none weak</Tag>}
            </span>,
          ],
        ]}
      />
    </Section>
  );
}

function EditHost({ host, onClose }: { host: Host; onClose: () => void }) {
  const queries = useQueryClient();
  const [hostname, setHostname] = useState(host.hostname ?? "");
  const [note, setNote] = useState(host.user_comment ?? "");
  const save = useMutation({
    mutationFn: () =>
      call(
        client.PATCH("/api/hosts/{host_id}", {
          params: { path: { host_id: host.id } },
          body: { hostname: hostname.trim() || null, user_comment: note.trim() || null },
        }),
      ),
    onSuccess: () => {
      for (const key of ["host", "hosts"]) void queries.invalidateQueries({ queryKey: [key] });
      toast("Saved.");
      onClose();
    },
  });
  return (
    <Dialog
      title={`Name and note of ${host.ip}`}
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="edit-host" busy={save.isPending}>
            Save
          </Button>
        </>
      }
    >
      <form
        id="edit-host"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Field
          label="Name"
          error={fieldError(save.error, "hostname")}
          hint="A name given here stays, whatever DNS says."
        >
          <Input value={hostname} maxLength={255} onChange={(event) => setHostname(event.target.value)} />
        </Field>
        <Field label="Note" error={fieldError(save.error, "user_comment")}>
          <Textarea value={note} onChange={(event) => setNote(event.target.value)} />
        </Field>
        {save.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(save.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
