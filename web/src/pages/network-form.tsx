import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useDeferredValue, useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { agentsQuery, schedulePreviewQuery } from "@/api/queries";
import type { Network, NetworkCreate } from "@/api/types";
import { presetOf, previewRuns, schedulePresets, timeZones } from "@/lib/cron";
import { compact, count, duration } from "@/lib/format";
import { useNow } from "@/lib/now";
import { addressCount, countPorts, estimate, isLoopback } from "@/lib/ports";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Check, Choice, Field, Input, Select, Textarea } from "@/ui/field";
import { toast } from "@/ui/toast";

type Protocol = "tcp" | "udp" | "both";

const COMMON =
  "21-23,25,53,80,81,88,110,111,135,139,143,179,389,443,445,465,587,631,636,873,993,995,1433,1521,1883,2049,2375,3000,3128,3306,3389,5000,5060,5432,5601,5672,5900,5985,6379,6443,8000,8008,8080,8081,8086,8088,8443,8888,9000,9090,9092,9200,9443,10000,11211,27017";

/** The rates an agent takes when a network names none: in general, and on its own machine. */
const DEFAULT_RATE = 1000;
const LOOPBACK_RATE = 20_000;

interface Draft {
  name: string;
  cidr: string;
  port_spec: string;
  scan_protocol: Protocol;
  scanner_id: string;
  scan_rate: string;
  scan_timeout: string;
  port_timeout: string;
  scan_schedule: string;
  time_zone: string;
  host_discovery_enabled: boolean;
  exclude: string;
  retries: string;
  shards: string;
  identify: boolean;
  ssh_audit: boolean;
  tls_audit: boolean;
}

function draftOf(network: Network | undefined): Draft {
  return {
    name: network?.name ?? "",
    cidr: network?.cidr ?? "",
    port_spec: network?.port_spec ?? "1-1024",
    scan_protocol: (network?.scan_protocol as Protocol | undefined) ?? "tcp",
    scanner_id: network?.scanner_id == null ? "" : String(network.scanner_id),
    scan_rate: network?.scan_rate == null ? "" : String(network.scan_rate),
    scan_timeout: String(Math.round((network?.scan_timeout ?? 3600) / 60)),
    port_timeout: String(network?.port_timeout ?? 1500),
    scan_schedule: network?.scan_schedule ?? "",
    time_zone: network?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
    host_discovery_enabled: network?.host_discovery_enabled ?? true,
    exclude: (network?.exclude ?? []).join("\n"),
    retries: String(network?.retries ?? 1),
    shards: String(network?.shards ?? 1),
    identify: network?.identify ?? true,
    ssh_audit: network?.ssh_audit ?? true,
    tls_audit: network?.tls_audit ?? true,
  };
}

function bodyOf(draft: Draft): NetworkCreate {
  return {
    name: draft.name.trim(),
    cidr: draft.cidr.trim(),
    port_spec: draft.port_spec.replace(/\s+/g, ""),
    scan_protocol: draft.scan_protocol,
    scanner_id: Number(draft.scanner_id),
    scan_rate: draft.scan_rate === "" ? null : Number(draft.scan_rate),
    scan_timeout: Number(draft.scan_timeout) * 60,
    port_timeout: Number(draft.port_timeout),
    scan_schedule: draft.scan_schedule.trim() || null,
    time_zone: draft.time_zone,
    host_discovery_enabled: draft.host_discovery_enabled,
    exclude: draft.exclude.split(/[\s,]+/).filter(Boolean),
    retries: draft.retries === "" ? null : Number(draft.retries),
    shards: draft.shards === "" ? null : Number(draft.shards),
    identify: draft.identify,
    ssh_audit: draft.ssh_audit,
    tls_audit: draft.tls_audit,
  };
}

/** Adds a network, or changes one. */
export function NetworkForm({ network, onClose }: { network?: Network; onClose: () => void }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { data: agents } = useQuery(agentsQuery);
  const [draft, setDraft] = useState(() => draftOf(network));
  const set = <K extends keyof Draft>(field: K, value: Draft[K]) =>
    setDraft((old) => ({ ...old, [field]: value }));
  const agentId = draft.scanner_id || String(agents?.[0]?.id ?? "");

  const save = useMutation({
    mutationFn: () => {
      const body = bodyOf({ ...draft, scanner_id: agentId });
      return network
        ? call(
            client.PUT("/api/networks/{network_id}", { params: { path: { network_id: network.id } }, body }),
          )
        : call(client.POST("/api/networks", { body }));
    },
    onSuccess: (saved) => {
      void queries.invalidateQueries({ queryKey: ["networks"] });
      toast(network ? "Saved." : `${saved.name} is added.`);
      if (network) onClose();
      else void navigate({ to: "/networks/$networkId", params: { networkId: String(saved.id) } });
    },
  });
  const wrong = (field: keyof Draft) => fieldError(save.error, field);
  const formId = "network-form";

  return (
    <Dialog
      title={network ? `Edit ${network.name}` : "Add a network"}
      onClose={onClose}
      wide
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            kind="primary"
            type="submit"
            form={formId}
            busy={save.isPending}
            disabled={agents?.length === 0}
          >
            {network ? "Save" : "Add it"}
          </Button>
        </>
      }
    >
      <form
        id={formId}
        noValidate
        className="grid gap-4 sm:grid-cols-2"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Field label="Name" required error={wrong("name")}>
          <Input value={draft.name} maxLength={255} onChange={(event) => set("name", event.target.value)} />
        </Field>
        <Field label="Addresses" required error={wrong("cidr")} hint={<AddressHint cidr={draft.cidr} />}>
          <Input
            figures
            value={draft.cidr}
            placeholder="192.0.2.0/24"
            spellCheck={false}
            onChange={(event) => set("cidr", event.target.value)}
          />
        </Field>
        <div className="flex flex-col gap-2 sm:col-span-2">
          <Field
            label="Ports"
            required
            error={wrong("port_spec")}
            hint={<PortHint spec={draft.port_spec} protocol={draft.scan_protocol} />}
          >
            <Input
              figures
              value={draft.port_spec}
              spellCheck={false}
              onChange={(event) => set("port_spec", event.target.value)}
            />
          </Field>
          <div className="flex flex-wrap items-center gap-1.5">
            {[
              ["1-1024", "Low ports"],
              [COMMON, "Common services"],
              ["1-65535", "All ports"],
            ].map(([spec = "", label]) => (
              <Button key={label} small onClick={() => set("port_spec", spec)}>
                {label}
              </Button>
            ))}
            <Choice
              label="Transport"
              className="ml-auto"
              value={draft.scan_protocol}
              onChange={(value) => set("scan_protocol", value)}
              options={[
                { value: "tcp", label: "TCP" },
                { value: "udp", label: "UDP" },
                { value: "both", label: "Both" },
              ]}
            />
          </div>
        </div>
        <Field
          label="Agent"
          required
          error={wrong("scanner_id")}
          hint={
            agents?.length === 0 ? (
              <>
                There is no agent yet.{" "}
                <Link to="/agents" className="text-sea underline">
                  Enrol one first.
                </Link>
              </>
            ) : undefined
          }
        >
          <Select
            value={agentId}
            onChange={(event) => set("scanner_id", event.target.value)}
            options={(agents ?? []).map((agent) => ({ value: String(agent.id), label: agent.name }))}
          />
        </Field>
        <Field label="Packets per second" error={wrong("scan_rate")} hint={<RateHint draft={draft} />}>
          <Input
            figures
            inputMode="numeric"
            value={draft.scan_rate}
            placeholder="the agent's default"
            onChange={(event) => set("scan_rate", event.target.value.replace(/\D/g, ""))}
          />
        </Field>
        <Schedule draft={draft} set={set} error={wrong("scan_schedule")} zoneError={wrong("time_zone")} />
        <Field label="Give up after (minutes)" error={wrong("scan_timeout")}>
          <Input
            figures
            inputMode="numeric"
            value={draft.scan_timeout}
            onChange={(event) => set("scan_timeout", event.target.value.replace(/\D/g, ""))}
          />
        </Field>
        <Field label="Wait for an answer (milliseconds)" error={wrong("port_timeout")}>
          <Input
            figures
            inputMode="numeric"
            value={draft.port_timeout}
            onChange={(event) => set("port_timeout", event.target.value.replace(/\D/g, ""))}
          />
        </Field>
        <Field
          label="Never send to"
          className="sm:col-span-2"
          error={wrong("exclude")}
          hint="Addresses, blocks or ranges within the network, one a line: 192.0.2.7, 192.0.2.64/26, 192.0.2.10-192.0.2.20."
        >
          <Textarea
            figures
            rows={2}
            value={draft.exclude}
            spellCheck={false}
            onChange={(event) => set("exclude", event.target.value)}
          />
        </Field>
        <Field
          label="Send again"
          error={wrong("retries")}
          hint="Times an unanswered probe is repeated, 0 to 10."
        >
          <Input
            figures
            inputMode="numeric"
            value={draft.retries}
            onChange={(event) => set("retries", event.target.value.replace(/\D/g, ""))}
          />
        </Field>
        <Field
          label="Parts"
          error={wrong("shards")}
          hint="A scan is cut into so many jobs, 1 to 256; agents take them one by one."
        >
          <Input
            figures
            inputMode="numeric"
            value={draft.shards}
            onChange={(event) => set("shards", event.target.value.replace(/\D/g, ""))}
          />
        </Field>
        <fieldset className="flex flex-col gap-2 sm:col-span-2">
          <legend className="sr-only">What is done besides</legend>
          <Check
            checked={draft.identify}
            onChange={(event) => set("identify", event.target.checked)}
            label="Services are identified"
            hint="Open ports are talked to, to learn product, version and certificate."
          />
          <Check
            checked={draft.identify && draft.ssh_audit}
            disabled={!draft.identify}
            onChange={(event) => set("ssh_audit", event.target.checked)}
            label="SSH servers are audited"
            hint="Which ciphers, key exchanges and ways to sign in they offer."
          />
          <Check
            checked={draft.identify && draft.tls_audit}
            disabled={!draft.identify}
            onChange={(event) => set("tls_audit", event.target.checked)}
            label="TLS servers are audited"
            hint="Which versions they agree to, and their JARM fingerprint: twelve connections more to each."
          />
          <Check
            checked={draft.host_discovery_enabled}
            onChange={(event) => set("host_discovery_enabled", event.target.checked)}
            label="Hosts can be discovered without a port scan"
            hint="By ping and, on attached networks, by ARP or neighbour discovery."
          />
        </fieldset>
        {save.error && (
          <p role="alert" className="text-critical foreign sm:col-span-2">
            {errorText(save.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}

function AddressHint({ cidr }: { cidr: string }) {
  if (cidr.trim() === "") return "A block such as 192.0.2.0/24 or fd00::/120, or one address.";
  const addresses = addressCount(cidr);
  if (addresses === null) return "Not a block or an address yet.";
  return `${addresses > 1_000_000n ? compact(Number(addresses)) : count(addresses)} ${addresses === 1n ? "address" : "addresses"}`;
}

function PortHint({ spec, protocol }: { spec: string; protocol: Protocol }) {
  const ports = countPorts(spec, protocol);
  if (typeof ports === "string") return ports;
  const parts = [
    ports.tcp > 0 && `${count(ports.tcp)} TCP`,
    ports.udp > 0 && `${count(ports.udp)} UDP`,
  ].filter(Boolean);
  return `${parts.join(" and ") || "No"} ports. Ranges with -, exclusions with !, UDP with U: as in 22,8000-8100,U:53,!25`;
}

function RateHint({ draft }: { draft: Draft }) {
  const own = isLoopback(draft.cidr) ? LOOPBACK_RATE : DEFAULT_RATE;
  const rate = Number(draft.scan_rate) || own;
  const cost = estimate(draft.cidr, draft.port_spec, draft.scan_protocol, rate);
  const long = cost !== null && cost.seconds > Number(draft.scan_timeout) * 60;
  return (
    <>
      {draft.scan_rate === "" && (
        <>
          Left empty, it is the agent's default: {count(DEFAULT_RATE)} packets/s, {count(LOOPBACK_RATE)} on
          its own machine.{" "}
        </>
      )}
      {cost && (
        <span className={long ? "text-high" : undefined}>
          {compact(Number(cost.probes))} probes, about {duration(cost.seconds)} at {count(rate)} a second
          {long && `: longer than the ${draft.scan_timeout} minutes it may take`}.
        </span>
      )}
    </>
  );
}

interface ScheduleProps {
  draft: Draft;
  set: <K extends keyof Draft>(field: K, value: Draft[K]) => void;
  error: string | undefined;
  zoneError: string | undefined;
}

function Schedule({ draft, set, error, zoneError }: ScheduleProps) {
  const now = useNow();
  const [custom, setCustom] = useState(() => presetOf(draft.scan_schedule) === "custom");
  const schedule = useDeferredValue(draft.scan_schedule);
  const preview = useQuery(schedulePreviewQuery(schedule, draft.time_zone));
  const runs =
    preview.data && !preview.error ? previewRuns(preview.data.next_runs, draft.time_zone, now) : [];
  const chosen = custom ? "custom" : presetOf(draft.scan_schedule);
  return (
    <fieldset className="grid min-w-0 gap-3 rounded-md border border-line p-3 sm:col-span-2 sm:grid-cols-2">
      <legend className="px-1 text-sm font-semibold">Schedule</legend>
      <Field label="When">
        <Select
          value={chosen}
          onChange={(event) => {
            setCustom(event.target.value === "custom");
            if (event.target.value !== "custom") set("scan_schedule", event.target.value);
          }}
          options={[...schedulePresets, { value: "custom", label: "A cron line of my own" }]}
        />
      </Field>
      <Field label="Time zone" error={zoneError}>
        <Select
          value={draft.time_zone}
          onChange={(event) => set("time_zone", event.target.value)}
          options={timeZones().map((zone) => ({ value: zone, label: zone }))}
        />
      </Field>
      {chosen === "custom" && (
        <Field
          label="Cron line"
          error={error ?? (preview.error && draft.scan_schedule ? errorText(preview.error) : undefined)}
          hint="Minute, hour, day of month, month, day of week (0 and 7 are Sunday)."
          className="sm:col-span-2"
        >
          <Input
            figures
            value={draft.scan_schedule}
            placeholder="30 2 * * 1-5"
            spellCheck={false}
            onChange={(event) => set("scan_schedule", event.target.value)}
          />
        </Field>
      )}
      {draft.scan_schedule !== "" && runs.length > 0 && (
        <div className="sm:col-span-2">
          <p className="mb-1">
            {preview.data?.description}. <span className="text-ink-3">Next runs, in your time:</span>
          </p>
          <ol className="grid gap-x-6 sm:grid-cols-2">
            {runs.map((run) => (
              <li key={run.local} className="flex flex-wrap gap-x-2">
                <span className="figures">{run.local}</span>
                <span className="text-ink-3">{run.from}</span>
                {run.zoned && <span className="figures text-ink-3">({run.zoned} there)</span>}
              </li>
            ))}
          </ol>
        </div>
      )}
    </fieldset>
  );
}
