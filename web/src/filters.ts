import { flag, int, oneOf, portRange, type SearchOf, searchSchema, text } from "./lib/search";

/** The filters that each page keeps in its URL. */
const dir = oneOf("asc", "desc");

export const portsFilter = {
  network: int(),
  ip: text,
  port: portRange,
  protocol: oneOf("tcp", "udp", "sctp"),
  service: text,
  fingerprint: text,
  sort: oneOf("ip", "port", "service", "first_seen_at", "last_seen_at"),
  dir,
};

export const hostsFilter = {
  network: int(),
  q: text,
  up: flag,
  sort: oneOf("ip", "hostname", "first_seen_at", "last_seen_at"),
  dir,
};

export const alertsFilter = {
  show: oneOf("open", "acknowledged", "all"),
  type: text,
  severity: oneOf("critical", "high", "medium", "info"),
  network: int(),
  ip: text,
  status: oneOf("open", "in_progress", "resolved"),
  assigned: text,
  id: int(),
};

export const scansFilter = {
  network: int(),
  status: oneOf("planned", "running", "completed", "failed", "cancelled"),
  hidden: flag,
};

export const scanFilter = {
  tab: oneOf("ports", "logs", "diff", "ssh"),
  compare: int(),
};

export const changesFilter = {
  network: int(),
  kind: text,
  ip: text,
};

export const policyFilter = { network: int() };
export const auditFilter = { action: text, actor: text };
export const networksFilter = { new: flag };
export const loginFilter = { next: text };
export const setupFilter = { token: text };

export type AlertsFilter = SearchOf<typeof alertsFilter>;
export type PortsFilter = SearchOf<typeof portsFilter>;
export type HostsFilter = SearchOf<typeof hostsFilter>;

export { searchSchema };
