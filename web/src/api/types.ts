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
export type TlsAlertDefaults = Schemas["TlsAlertDefaults"];
export type User = Schemas["AdminUserResponse"];
export type Role = Schemas["Role"];
export type ResolutionStatus = Schemas["ResolutionStatus"];

/** The whole finding about a service, as `GET /api/ports/{port_id}` has it. All text in it is a stranger's. */
export type Finding = Schemas["Service"];
export type TlsFinding = Schemas["TlsInfo"];
/** A certificate of a chain; the server's own comes first. */
export type Certificate = Schemas["TlsCertificate"];
export type SshFinding = Schemas["SshAudit"];
export type SshAlgorithm = Schemas["SshAlgorithm"];
export type HttpFinding = Schemas["HttpInfo"];
export type NtlmFinding = Schemas["NtlmInfo"];
export type Announcement = Schemas["DeviceInfo"];
export type Weakness = Schemas["Weakness"];
export type SamePlace = Schemas["SamePlace"];
