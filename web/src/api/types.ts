import type { components } from "./schema";

type Schemas = components["schemas"];

/** Names that the pages use for what the API sends. */
export type Alert = Schemas["AlertResponse"];
export type AlertComment = Schemas["AlertCommentResponse"];
export type Agent = Schemas["ScannerResponse"];
export type AuditEntry = Schemas["AuditEntry"];
export type Change = Schemas["Change"];
export type EnrollmentToken = Schemas["EnrollmentToken"];
export type GlobalPort = Schemas["GlobalOpenPortResponse"];
export type Host = Schemas["HostResponse"];
export type HostOverview = Schemas["HostOverviewResponse"];
export type HostPort = Schemas["HostOpenPortResponse"];
export type Me = Schemas["UserResponse"];
export type Network = Schemas["NetworkResponse"];
export type NetworkCreate = Schemas["NetworkCreateRequest"];
export type OpenPort = Schemas["OpenPortListItem"];
export type PolicyRule = Schemas["PolicyRuleResponse"];
export type PortRule = Schemas["PortRuleResponse"];
export type Scan = Schemas["ScanWithNamesResponse"];
export type ScanDetail = Schemas["ScanDetailResponse"];
export type ScanDiff = Schemas["ScanDiffResponse"];
export type ScanLog = Schemas["ScanLogResponse"];
export type ScanPort = Schemas["OpenPortResponse"];
export type Session = Schemas["Session"];
export type User = Schemas["UserListResponse"]["users"][number];
export type Role = Schemas["UserRole"];
