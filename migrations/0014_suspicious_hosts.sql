-- Hosts that answer on every port are told of as such, and not port by port.

alter table alerts drop constraint alerts_kind_check;
alter table alerts add constraint alerts_kind_check check (kind in (
    'new_port', 'not_allowed', 'blocked',
    'ssh_insecure_auth', 'ssh_weak_cipher', 'ssh_weak_kex', 'ssh_weak_mac', 'ssh_weak_host_key', 'ssh_outdated_version',
    'ssh_config_regression',
    'new_host', 'host_vanished', 'host_identity_changed', 'service_changed', 'suspicious_host',
    'tls_expired', 'tls_expiring', 'tls_weak',
    'agent_offline', 'scan_failed', 'scan_missed', 'saved_query'));
