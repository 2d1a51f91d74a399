import type { components } from "./schema";

type Schemas = components["schemas"];

/** Names that the pages use for what the API sends. */
export type Alert = Schemas["Alert"];
export type Agent = Schemas["ScannerResponse"];
export type AuditEntry = Schemas["AuditEntry"];
export type Change = Schemas["Change"];
export type Dashboard = Schemas["Dashboard"];
export type Host = Schemas["Host"];
export type HostOverview = Schemas["HostOverview"];
export type Me = Schemas["UserResponse"];
export type Network = Schemas["NetworkResponse"];
export type NetworkCreate = Schemas["NetworkCreate"];
export type OpenPort = Schemas["Port"];
export type PolicyRule = Schemas["PolicyRule"];
export type PortRule = Schemas["PortRule"];
export type Scan = Schemas["Scan"];
export type ScanDetail = Schemas["ScanDetail"];
export type ScanDiff = Schemas["ScanDiff"];
export type ScanLog = Schemas["ScanLog"];
export type ScanPort = Schemas["ScanPort"];
export type Session = Schemas["Session"];
export type SshAlertDefaults = Schemas["SshAlertDefaults"];
export type User = Schemas["AdminUserResponse"];
export type Role = Schemas["Role"];
export type ResolutionStatus = Schemas["ResolutionStatus"];

/** The whole finding about a service, as `GET /api/ports/{port_id}` has it. All text in it is a stranger's. */
export interface Finding {
  verdict?: string;
  confidence?: number;
  revision?: string;
  info?: string;
  hostname?: string;
  os?: string;
  device?: string;
  cpe?: string[];
  banner?: string;
  tls?: TlsFinding;
  ssh?: SshFinding;
  http?: HttpFinding;
  evidence?: { field: string; source: string; entry?: string }[];
  alternatives?: { name: string; product?: string; confidence: number }[];
}

export interface TlsFinding {
  version?: string;
  cipher?: string;
  client_certificate_requested?: boolean;
  certificates?: Certificate[];
}

/** A certificate of a chain; the server's own comes first. */
export interface Certificate {
  subject?: string;
  issuer?: string;
  alternative_names?: string[];
  not_before_ms?: number;
  not_after_ms?: number;
  self_signed?: boolean;
  key?: string;
  signature?: string;
  sha256?: string;
}

export interface SshFinding {
  host_key_types?: string[];
  ciphers?: SshAlgorithm[];
  kex_algorithms?: SshAlgorithm[];
  mac_algorithms?: SshAlgorithm[];
  auth_methods?: string[];
}

export interface SshAlgorithm {
  name: string;
  is_weak: boolean;
  notes?: string[];
}

export interface HttpFinding {
  status?: number;
  title?: string;
  server?: string;
  location?: string;
  realm?: string;
  technologies?: string[];
}
