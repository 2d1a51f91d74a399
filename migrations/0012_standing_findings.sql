-- Findings about TLS and SSH that last from scan to scan, each with the alert that tells of it.

alter table alerts drop constraint alerts_kind_check;
alter table alerts add constraint alerts_kind_check check (kind in (
    'new_port', 'not_allowed', 'blocked',
    'ssh_insecure_auth', 'ssh_weak_cipher', 'ssh_weak_kex', 'ssh_weak_mac', 'ssh_weak_host_key', 'ssh_outdated_version',
    'ssh_config_regression',
    'new_host', 'host_vanished', 'host_identity_changed', 'service_changed',
    'tls_expired', 'tls_expiring', 'tls_weak',
    'agent_offline', 'scan_failed', 'scan_missed', 'saved_query'));

-- A row is a finding that stands: it is there, and an alert was raised for it. Several findings may share one alert. The
-- alert resolves itself when the last of its findings is gone, and is not raised again while it stands, acknowledged or not.
create table alert_findings (
    network_id bigint not null references networks on delete cascade,
    -- What makes it the same finding: `tls_expired/<SHA-256>`, `ssh_weak_mac/<address>/<port>/<transport>` …
    finding    text not null check (length(finding) <= 200),
    alert_id   bigint not null references alerts on delete cascade,
    primary key (network_id, finding)
);
create index alert_findings_alert_idx on alert_findings (alert_id);

-- A scan's end reads what its network's TLS and SSH servers show; those are few among its ports.
create index ports_crypto_idx on ports (network_id) where closed_at is null and fingerprints is not null;
