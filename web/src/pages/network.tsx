import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { MoreHorizontal, Pencil, Radar, Trash2, Waypoints } from "lucide-react";
import { useMemo, useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import {
  agentsQuery,
  alertsQuery,
  changesQuery,
  networkQuery,
  networkRulesQuery,
  scansQuery,
  schedulePreviewQuery,
} from "@/api/queries";
import type { Network, PortRule } from "@/api/types";
import { useStartScan } from "@/lib/actions";
import { count, duration } from "@/lib/format";
import { useCan } from "@/lib/session";
import { Button, buttonLook, IconButton } from "@/ui/button";
import { ChangeLine } from "@/ui/change-line";
import { Confirm } from "@/ui/dialog";
import { Choice, Field, Input } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { Menu, MenuItem } from "@/ui/menu";
import { Facts, Page, Section } from "@/ui/page";
import { PortRuler } from "@/ui/ruler";
import { Empty, Loaded } from "@/ui/states";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { PortSpec } from "@/ui/values";
import { NetworkForm } from "./network-form";
import { LiveStrip } from "./live-strip";
import { ScanList } from "./scan-list";

const route = getRouteApi("/app/networks/$networkId");

export function NetworkPage() {
  const id = Number(route.useParams().networkId);
  const network = useQuery(networkQuery(id));
  return (
    <Loaded query={network} what="The network" rows={8}>
      {(data) => <NetworkView network={data} />}
    </Loaded>
  );
}

function NetworkView({ network }: { network: Network }) {
  const canEdit = useCan("operator");
  const start = useStartScan();
  const [open, setOpen] = useState<"edit" | "delete" | null>(null);
  const scans = useQuery(scansQuery({ network_id: network.id, limit: 10 }));
  const changes = useQuery(changesQuery({ network_id: network.id, limit: 12 }));
  const alerts = useQuery(alertsQuery({ network_id: network.id, needs_attention: true, limit: 1 }));
  const ports = useQuery({
    queryKey: ["ports", "ruler", network.id],
    queryFn: () =>
      call(
        client.GET("/api/ports", {
          params: { query: { network_id: network.id, limit: 5000, sort_by: "port" } },
        }),
      ),
  });
  const ticks = useMemo(
    () => (ports.data?.ports ?? []).map((port) => ({ port: port.port, kind: "open" as const })),
    [ports.data],
  );
  const total = ports.data?.total;
  const discover = useDiscovery(network.id);
  const active = scans.data?.scans.find((scan) => scan.status === "running" || scan.status === "planned");

  return (
    <Page
      title={network.name}
      lead={
        <span className="inline-flex flex-wrap items-center gap-2">
          <span className="figures">{network.cidr}</span>
          {network.is_ipv6 && <Tag>IPv6</Tag>}
          <Link to="/alerts" search={{ network: network.id }} className="text-sea hover:underline">
            {alerts.data ? `${count(alerts.data.total)} open alerts` : "alerts"}
          </Link>
          <Link to="/hosts" search={{ network: network.id }} className="text-sea hover:underline">
            hosts
          </Link>
        </span>
      }
      actions={
        canEdit && (
          <>
            <Menu
              trigger={
                <IconButton label="More">
                  <MoreHorizontal className="size-4" aria-hidden />
                </IconButton>
              }
            >
              {network.host_discovery_enabled && (
                <MenuItem
                  icon={<Waypoints className="size-4 text-ink-2" aria-hidden />}
                  onSelect={() => discover.mutate()}
                >
                  Discover hosts
                </MenuItem>
              )}
              <MenuItem
                danger
                icon={<Trash2 className="size-4" aria-hidden />}
                onSelect={() => setOpen("delete")}
              >
                Delete this network
              </MenuItem>
            </Menu>
            <Button icon={<Pencil className="size-4" aria-hidden />} onClick={() => setOpen("edit")}>
              Edit
            </Button>
            <Button
              kind="primary"
              icon={<Radar className="size-4" aria-hidden />}
              busy={start.isPending}
              onClick={() => start.mutate(network.id)}
            >
              Scan now
            </Button>
          </>
        )
      }
    >
      {active && (
        <LiveStrip
          scan={active}
          found={active.port_count}
          action={
            <Link
              to="/scans/$scanId"
              params={{ scanId: String(active.id) }}
              className="text-sea hover:underline"
            >
              Watch scan {active.id}
            </Link>
          }
        />
      )}
      <Section
        title="Open now"
        note={total !== undefined && `${count(total)} ports`}
        actions={
          <Link to="/ports" search={{ network: network.id }} className={buttonLook("quiet", true)}>
            All open ports
          </Link>
        }
      >
        <PortRuler ticks={ticks} label={`${count(total ?? 0)} open ports between 1 and 65535`} />
      </Section>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_22rem]">
        <div className="flex min-w-0 flex-col gap-4">
          <Section
            title="Scans"
            bare
            actions={
              <Link to="/scans" search={{ network: network.id }} className={buttonLook("quiet", true)}>
                All scans
              </Link>
            }
          >
            <Loaded query={scans} what="The scans">
              {({ scans: rows }) =>
                rows.length === 0 ? (
                  <Empty title="Never scanned">
                    The first scan is the baseline that later ones are compared with.
                  </Empty>
                ) : (
                  <ScanList scans={rows} withNetwork={false} />
                )
              }
            </Loaded>
          </Section>
          <Section
            title="Changes"
            bare
            actions={
              <Link to="/changes" search={{ network: network.id }} className={buttonLook("quiet", true)}>
                All changes
              </Link>
            }
          >
            <Loaded query={changes} what="The changes">
              {({ changes: rows }) =>
                rows.length === 0 ? (
                  <Empty title="No changes">Nothing differed between one scan and the next so far.</Empty>
                ) : (
                  <ul>
                    {rows.map((change) => (
                      <ChangeLine key={change.id} change={change} compact />
                    ))}
                  </ul>
                )
              }
            </Loaded>
          </Section>
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          <NetworkFacts network={network} />
          <Rules network={network} canEdit={canEdit} />
        </div>
      </div>
      {open === "edit" && <NetworkForm network={network} onClose={() => setOpen(null)} />}
      {open === "delete" && <DeleteNetwork network={network} onClose={() => setOpen(null)} />}
    </Page>
  );
}

function useDiscovery(networkId: number) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/networks/{network_id}/discover-hosts", {
          params: { path: { network_id: networkId } },
        }),
      ),
    onSuccess: () => {
      toast("Looking for hosts. They appear in the list as they answer.");
      void queries.invalidateQueries({ queryKey: ["scans"] });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
}

function NetworkFacts({ network }: { network: Network }) {
  const { data: agents } = useQuery(agentsQuery);
  const zone = network.time_zone ?? "UTC";
  const preview = useQuery(schedulePreviewQuery(network.scan_schedule ?? "", zone));
  const agent = agents?.find((each) => each.id === network.scanner_id);
  return (
    <Section title="How it is scanned">
      <Facts
        className="grid-cols-2! [&>:first-child]:col-span-2"
        items={[
          ["Ports", <PortSpec key="p" spec={network.port_spec} />],
          [
            "Transport",
            network.scan_protocol === "both" ? "TCP and UDP" : network.scan_protocol.toUpperCase(),
          ],
          [
            "Agent",
            agent ? (
              agent.name
            ) : (
              <span key="a" className="text-high">
                none: nothing is scanned
              </span>
            ),
          ],
          ["Rate", network.scan_rate ? `${count(network.scan_rate)} packets/s` : "the agent's default"],
          [
            "Schedule",
            network.scan_schedule ? (
              <span key="s">
                <span className="figures">{network.scan_schedule}</span>{" "}
                <span className="text-ink-3">{zone}</span>
              </span>
            ) : (
              "by hand"
            ),
          ],
          [
            "Next run",
            network.scan_schedule && preview.data ? <Time key="n" at={preview.data.next_runs[0]} /> : "–",
          ],
          ...(network.exclude.length > 0
            ? ([
                [
                  "Never sent to",
                  <span key="x" className="figures">
                    {network.exclude.join(", ")}
                  </span>,
                ],
              ] as [string, React.ReactNode][])
            : []),
          ["Services", network.identify ? "identified" : "not identified"],
          ["Gives up after", duration(network.scan_timeout ?? 3600)],
          ["Waits for answers", duration((network.port_timeout ?? 1500) / 1000)],
        ]}
      />
    </Section>
  );
}

function Rules({ network, canEdit }: { network: Network; canEdit: boolean }) {
  const queries = useQueryClient();
  const rules = useQuery(networkRulesQuery(network.id));
  const refresh = () => queries.invalidateQueries({ queryKey: ["networks", network.id, "rules"] });
  const remove = useMutation({
    mutationFn: (rule: PortRule) =>
      call(
        client.DELETE("/api/networks/{network_id}/rules/{rule_id}", {
          params: { path: { network_id: network.id, rule_id: rule.id } },
        }),
      ),
    onSuccess: (_, rule) => {
      void refresh();
      toast("The rule is gone.", { undo: () => restore.mutate(rule) });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
  const restore = useMutation({
    mutationFn: ({ ip, port, rule_type, description }: PortRule) =>
      call(
        client.POST("/api/networks/{network_id}/rules", {
          params: { path: { network_id: network.id } },
          body: { ip, port, rule_type, description },
        }),
      ),
    onSuccess: refresh,
  });
  return (
    <Section title="Rules of this network" note="besides the ones for all" bare>
      <Loaded query={rules} what="The rules" rows={2}>
        {(rows) =>
          rows.length === 0 ? (
            <p className="px-4 py-3 text-ink-2">
              None. With an allow rule, every other open port raises an alert; a block rule makes its ports
              critical.
            </p>
          ) : (
            <ul>
              {rows.map((rule) => (
                <li
                  key={rule.id}
                  className="flex items-start gap-2 border-b border-line/70 px-4 py-2 last:border-0"
                >
                  <Tag tone={rule.rule_type === "allow" ? "good" : "bad"}>{rule.rule_type}</Tag>
                  <div className="min-w-0 flex-1">
                    <span className="figures">
                      {rule.ip ?? "any address"} : {rule.port}
                    </span>
                    {rule.description && <p className="text-sm text-ink-2 foreign">{rule.description}</p>}
                  </div>
                  {canEdit && (
                    <IconButton small label="Remove this rule" onClick={() => remove.mutate(rule)}>
                      <Trash2 className="size-3.5" aria-hidden />
                    </IconButton>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      {canEdit && <AddRule networkId={network.id} onAdded={refresh} />}
    </Section>
  );
}

function AddRule({ networkId, onAdded }: { networkId: number; onAdded: () => unknown }) {
  const empty = { ip: "", port: "", rule_type: "allow" as "allow" | "block", description: "" };
  const [draft, setDraft] = useState(empty);
  const add = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/networks/{network_id}/rules", {
          params: { path: { network_id: networkId } },
          body: { ...draft, ip: draft.ip.trim() || null, description: draft.description.trim() || null },
        }),
      ),
    onSuccess: () => {
      setDraft(empty);
      onAdded();
    },
  });
  const other = add.error && !fieldError(add.error, "ip") && !fieldError(add.error, "port");
  return (
    <form
      className="grid grid-cols-2 gap-3 border-t border-line px-4 py-3"
      onSubmit={(event) => {
        event.preventDefault();
        add.mutate();
      }}
    >
      <Field label="Port or range" required error={fieldError(add.error, "port")}>
        <Input
          figures
          value={draft.port}
          placeholder="443 or 8000-8100"
          onChange={(event) => setDraft({ ...draft, port: event.target.value })}
        />
      </Field>
      <Field label="Address" error={fieldError(add.error, "ip")}>
        <Input
          figures
          value={draft.ip}
          placeholder="any"
          onChange={(event) => setDraft({ ...draft, ip: event.target.value })}
        />
      </Field>
      <Field label="Why" className="col-span-2">
        <Input
          value={draft.description}
          onChange={(event) => setDraft({ ...draft, description: event.target.value })}
        />
      </Field>
      {other && (
        <p role="alert" className="col-span-2 text-critical foreign">
          {errorText(add.error)}
        </p>
      )}
      <div className="col-span-2 flex items-center justify-between gap-2">
        <Choice
          label="Kind of rule"
          value={draft.rule_type}
          onChange={(rule_type) => setDraft({ ...draft, rule_type })}
          options={[
            { value: "allow", label: "Allow" },
            { value: "block", label: "Block" },
          ]}
        />
        <Button type="submit" busy={add.isPending}>
          Add rule
        </Button>
      </div>
    </form>
  );
}

function DeleteNetwork({ network, onClose }: { network: Network; onClose: () => void }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: () =>
      call(client.DELETE("/api/networks/{network_id}", { params: { path: { network_id: network.id } } })),
    onSuccess: async () => {
      await navigate({ to: "/networks" });
      void queries.invalidateQueries();
      toast(`${network.name} is deleted.`);
    },
  });
  return (
    <Confirm
      title={`Delete ${network.name}?`}
      action="Delete it"
      busy={remove.isPending}
      error={remove.error ? errorText(remove.error) : undefined}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <p>Its scans, ports, changes, rules and alerts go with it. This cannot be taken back.</p>
    </Confirm>
  );
}
