import type { QueryClient } from "@tanstack/react-query";
import type { Dashboard, Scan, ScanDetail } from "./types";

/** What the server sends at `/api/events`. */
export interface ScanEvent {
  scan_id: number;
  network_id: number;
  status: string;
  progress_percent: number | null;
  progress_message: string | null;
  open_ports: number;
  probes_sent: number;
  probes_total: number;
  rate_pps: number;
}

export interface PortEvent {
  scan_id: number;
  network_id: number;
  ip: string;
  port: number;
  protocol: string;
  state: string;
  service: string | null;
  product: string | null;
  version: string | null;
}

export interface AlertEvent {
  id: number;
  alert_type: string;
  severity: string;
  network_id: number | null;
  ip: string | null;
  port: number | null;
  message: string;
}

export interface AgentEvent {
  id: number;
  name: string;
  online: boolean;
}

export type LiveEvent =
  | { name: "scan"; data: ScanEvent }
  | { name: "port"; data: PortEvent }
  | { name: "alert"; data: AlertEvent }
  | { name: "agent"; data: AgentEvent }
  | { name: "resync"; data: unknown };

/** Ports kept per scan while it runs; the scan's own page loads the rest. */
export const LIVE_PORTS = 5000;

const FINAL = new Set(["completed", "failed", "cancelled"]);

/** Brings the caches up to date with what happened, in order, with one write per cache entry. */
export function applyEvents(queries: QueryClient, events: readonly LiveEvent[]): void {
  const stale = new Set<string>();
  const ports = new Map<number, PortEvent[]>();
  for (const event of events) {
    if (event.name === "scan") applyScan(queries, event.data, stale);
    else if (event.name === "port") {
      ports.set(event.data.scan_id, [...(ports.get(event.data.scan_id) ?? []), event.data]);
    } else if (event.name === "alert") {
      for (const key of ["alerts", "dashboard", "host"]) stale.add(key);
    } else if (event.name === "agent") {
      for (const key of ["agents", "dashboard"]) stale.add(key);
    } else {
      void queries.invalidateQueries();
      return;
    }
  }
  for (const [scan, arrived] of ports) {
    queries.setQueryData<PortEvent[]>(["scan-live-ports", scan], (known) => mergePorts(known ?? [], arrived));
  }
  for (const key of stale) void queries.invalidateQueries({ queryKey: [key] });
}

function applyScan(queries: QueryClient, event: ScanEvent, stale: Set<string>): void {
  const fields = {
    status: event.status,
    progress_percent: event.progress_percent,
    progress_message: event.progress_message,
    probes_sent: event.probes_sent,
    probes_total: event.probes_total,
    rate_pps: event.rate_pps,
  };
  const before = queries.getQueryData<ScanDetail>(["scan", event.scan_id]);
  queries.setQueryData<ScanEvent>(["scan-live", event.scan_id], event);
  queries.setQueryData<ScanDetail>(["scan", event.scan_id], (scan) => scan && { ...scan, ...fields });
  let listed = false;
  queries.setQueriesData<{ scans: Scan[] }>({ queryKey: ["scans"] }, (list) => {
    if (!Array.isArray(list?.scans)) return list;
    const scans = list.scans.map((scan) => {
      if (scan.id !== event.scan_id) return scan;
      listed = true;
      return { ...scan, ...fields, port_count: Math.max(scan.port_count, event.open_ports) };
    });
    return { ...list, scans };
  });
  if (!listed) stale.add("scans");
  applyToDashboard(queries, event, fields, stale);
  if (before && before.status !== event.status) stale.add("scan");
  if (FINAL.has(event.status)) {
    for (const key of [
      "scan",
      "scans",
      "networks",
      "hosts",
      "host",
      "ports",
      "changes",
      "dashboard",
      "alerts",
    ]) {
      stale.add(key);
    }
  }
}

/** A scan that the dashboard shows moves on; one that it does not show yet makes it stale. */
function applyToDashboard(
  queries: QueryClient,
  event: ScanEvent,
  fields: Partial<Scan>,
  stale: Set<string>,
): void {
  const known = queries.getQueryData<Dashboard>(["dashboard"]);
  if (!known) return;
  if (!known.trust.active_scans.some((scan) => scan.id === event.scan_id)) {
    stale.add("dashboard");
    return;
  }
  const active_scans = known.trust.active_scans.map((scan) =>
    scan.id === event.scan_id ? { ...scan, ...fields, port_count: event.open_ports } : scan,
  );
  queries.setQueryData<Dashboard>(["dashboard"], { ...known, trust: { ...known.trust, active_scans } });
}

/** Adds what arrived to what is known: newest first, one entry per place, later facts replace earlier ones. */
export function mergePorts(known: readonly PortEvent[], arrived: readonly PortEvent[]): PortEvent[] {
  const byPlace = new Map<string, PortEvent>();
  for (const port of known.toReversed()) byPlace.set(place(port), port);
  for (const port of arrived) {
    const earlier = byPlace.get(place(port));
    byPlace.set(place(port), {
      ...port,
      service: port.service ?? earlier?.service ?? null,
      product: port.product ?? earlier?.product ?? null,
      version: port.version ?? earlier?.version ?? null,
    });
  }
  return [...byPlace.values()].toReversed().slice(0, LIVE_PORTS);
}

function place(port: PortEvent): string {
  return `${port.ip} ${port.port} ${port.protocol}`;
}
