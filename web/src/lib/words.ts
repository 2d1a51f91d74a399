import type { Change } from "@/api/types";
import type { ChangeKind } from "@/ui/marks";
import { firstScanOf } from "./alert-places";
import { words } from "./format";

/** What an alert of each type is about, in a few words. */
const alertTypes: Record<string, string> = {
  new_port: "New port",
  not_allowed: "Not on the allow list",
  blocked: "Blocked port open",
  ssh_insecure_auth: "SSH: insecure sign-in",
  ssh_weak_cipher: "SSH: weak cipher",
  ssh_weak_kex: "SSH: weak key exchange",
  ssh_weak_mac: "SSH: weak message authentication",
  ssh_weak_host_key: "SSH: weak host key",
  ssh_outdated_version: "SSH: outdated",
  ssh_config_regression: "SSH: got weaker",
  new_host: "New host",
  host_vanished: "Host gone",
  host_identity_changed: "Host is another one",
  service_changed: "Service changed",
  suspicious_host: "Answers on every port",
  tls_expired: "Certificate expired",
  tls_expiring: "Certificate expires soon",
  tls_weak: "TLS or certificate weak",
  agent_offline: "Agent offline",
  scan_failed: "Scan failed",
  scan_missed: "Scan missed",
  saved_query: "Saved query",
};

export const alertTypeOptions = Object.entries(alertTypes).map(([value, label]) => ({ value, label }));

/** What an alert is about, in a few words. */
export function alertTitle(alert: { type: string; detail?: unknown }): string {
  return firstScanOf(alert.detail) ? "First scan to review" : (alertTypes[alert.type] ?? words(alert.type));
}

const changeKinds: Record<string, { label: string; mark: ChangeKind }> = {
  port_opened: { label: "Port opened", mark: "added" },
  port_reopened: { label: "Port open again", mark: "added" },
  port_closed: { label: "Port closed", mark: "removed" },
  service_changed: { label: "Service changed", mark: "changed" },
  version_changed: { label: "Version changed", mark: "changed" },
  banner_changed: { label: "Banner changed", mark: "changed" },
  host_appeared: { label: "Host appeared", mark: "added" },
  host_returned: { label: "Host is back", mark: "added" },
  host_vanished: { label: "Host gone", mark: "removed" },
  hostname_changed: { label: "Host name changed", mark: "changed" },
  mac_changed: { label: "Hardware address changed", mark: "changed" },
  os_changed: { label: "Operating system changed", mark: "changed" },
  address_changed: { label: "Address changed", mark: "changed" },
  certificate_changed: { label: "Certificate changed", mark: "changed" },
  host_key_changed: { label: "Host key changed", mark: "changed" },
  ssh_changed: { label: "SSH set-up changed", mark: "changed" },
};

export const changeKindOptions = Object.entries(changeKinds).map(([value, { label }]) => ({ value, label }));

const doubts: Record<string, { state: string; label: string }> = {
  no_agent: { state: "failed", label: "no agent" },
  agent_offline: { state: "failed", label: "agent offline" },
  last_scan_failed: { state: "failed", label: "last scan failed" },
  overdue: { state: "in_progress", label: "overdue" },
  never_scanned: { state: "planned", label: "never scanned" },
  misses: { state: "in_progress", label: "misses open ports" },
};

/** Why a network is in doubt, as a mark and in words. */
export function doubt(reason: string): { state: string; label: string } {
  return doubts[reason] ?? { state: "in_progress", label: words(reason) };
}

export function changeMark(kind: string): ChangeKind {
  return changeKinds[kind]?.mark ?? "changed";
}

export function changeName(kind: string): string {
  return changeKinds[kind]?.label ?? words(kind);
}

/** The fields that differ, each as what it was and what it is. */
export function changedFields(
  change: Pick<Change, "before" | "after">,
): { field: string; before: string; after: string }[] {
  const before = record(change.before);
  const after = record(change.after);
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((field) => show(before[field]) !== show(after[field]))
    .map((field) => ({ field: words(field), before: show(before[field]), after: show(after[field]) }));
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function show(value: unknown): string {
  if (value === null || value === undefined || value === "") return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
