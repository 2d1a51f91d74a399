-- What is known of the networks: hosts, ports as intervals, changes, and the raw observations behind them.
--
-- An interval is open while `closed_at` is null. A port that closes and opens again gets a new row, so that
-- "what was open on that day" is one range condition. A port is closed only by a run that probed it.

-- One machine. An address alone is weak evidence of identity: host_identifiers holds what is stronger.
create table hosts (
    id            bigint generated always as identity primary key,
    -- The address it is shown under (its others are in host_addresses).
    address       host_address not null unique,
    hostname      text check (length(hostname) <= 255),
    -- user beats everything; then dns, service (what the host says of itself), agent.
    hostname_source text check (hostname_source in ('user', 'dns', 'service', 'agent')),
    -- Null = never tested.
    is_pingable   boolean,
    is_up         boolean not null default true,
    mac_address   macaddr,
    mac_vendor    text,
    os            text,
    device_type   text,
    device_reasons jsonb not null default '[]',
    -- What people say of it.
    label         text,
    user_comment  text,
    is_trusted    boolean not null default false,
    zone          text,
    owner         text,
    criticality   text not null default 'normal' check (criticality in ('low', 'normal', 'high', 'critical')),
    -- 0-100 and why; made by the risk rules.
    risk_score    smallint not null default 0 check (risk_score between 0 and 100),
    risk_level    text not null default 'none' check (risk_level in ('none', 'low', 'medium', 'high', 'critical')),
    risk_reasons  jsonb not null default '[]',
    -- Ports open now, kept by ingest.
    open_port_count integer not null default 0,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null
);
create index hosts_hostname_idx on hosts (lower(hostname));
create index hosts_mac_idx on hosts (mac_address);
create index hosts_last_seen_idx on hosts (last_seen_at desc, id);
create index hosts_first_seen_idx on hosts (first_seen_at);
create index hosts_risk_idx on hosts (risk_score desc) where risk_score > 0;
create index hosts_zone_idx on hosts (zone) where zone is not null;

-- Which addresses a host had, and when. `until` null = has it now.
create table host_addresses (
    id            bigint generated always as identity primary key,
    host_id       bigint not null references hosts on delete cascade,
    address       host_address not null,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    until         timestamptz
);
create unique index host_addresses_current on host_addresses (address) where until is null;
create index host_addresses_host_idx on host_addresses (host_id);

-- The networks a host was seen in (OPM: seen_by_networks).
create table host_networks (
    host_id       bigint not null references hosts on delete cascade,
    network_id    bigint not null references networks on delete cascade,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    primary key (host_id, network_id)
);
create index host_networks_network_idx on host_networks (network_id);

-- Evidence of identity that is stronger than an address.
create table host_identifiers (
    host_id       bigint not null references hosts on delete cascade,
    kind          text not null check (kind in ('mac', 'ssh_host_key', 'certificate', 'name', 'serial')),
    value         text not null,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    primary key (kind, value, host_id)
);
create index host_identifiers_host_idx on host_identifiers (host_id);

-- Every endpoint ever seen open, over all networks, under one number for ever (OPM: global_open_ports).
create table global_ports (
    id            bigint generated always as identity primary key,
    address       host_address not null,
    port          port_number not null,
    transport     transport not null,
    host_id       bigint references hosts on delete set null,
    service       text,
    product       text,
    version       text,
    banner        text,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    unique (address, port, transport)
) with (fillfactor = 80);
create index global_ports_port_idx on global_ports (port, transport);
create index global_ports_host_idx on global_ports (host_id);
create index global_ports_first_seen_idx on global_ports (first_seen_at);
-- last_seen_at is not indexed on purpose, here and in `ports`: it changes with every run, and without an index on it
-- the update stays inside its page (HOT).

-- The state of a network's ports as intervals.
create table ports (
    id            bigint generated always as identity primary key,
    network_id    bigint not null references networks on delete cascade,
    global_port_id bigint not null references global_ports on delete cascade,
    host_id       bigint references hosts on delete set null,
    address       host_address not null,
    port          port_number not null,
    transport     transport not null,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    closed_at     timestamptz,
    -- The runs that opened it and saw it last. No foreign keys: last_scan_id changes with every run, and the index a key
    -- needs would cost each update; the scan may be gone.
    first_scan_id bigint,
    last_scan_id  bigint,
    -- Runs in a row that probed it and saw nothing; two close it when the answer was silence (flap damping).
    misses        smallint not null default 0,
    reason        text,
    ttl           smallint,
    rtt_us        integer,
    -- Flat fields for lists and filters; `detail` is the whole Service document.
    service       text,
    product       text,
    vendor        text,
    version       text,
    banner        text,
    verdict       text,
    confidence    smallint,
    detail        jsonb,
    identified_at timestamptz,
    check (closed_at is null or closed_at >= first_seen_at)
) with (fillfactor = 80);
create unique index ports_current on ports (network_id, address, port, transport) where closed_at is null;
create index ports_history_idx on ports (network_id, address, port, transport, first_seen_at desc);
create index ports_global_idx on ports (global_port_id);
create index ports_host_idx on ports (host_id) where closed_at is null;
create index ports_address_idx on ports (address, port) where closed_at is null;
create index ports_port_idx on ports (port, transport) where closed_at is null;
create index ports_service_idx on ports (lower(service)) where closed_at is null;
create index ports_product_idx on ports (lower(product), version) where closed_at is null;
create index ports_closed_idx on ports (network_id, closed_at desc) where closed_at is not null;

-- What changed, in order. Append-only but for retention; alerts, the feed and the dashboard read it.
create table changes (
    id         bigint generated always as identity primary key,
    at         timestamptz not null,
    network_id bigint not null references networks on delete cascade,
    scan_id    bigint references scans on delete set null,
    host_id    bigint references hosts on delete set null,
    global_port_id bigint references global_ports on delete set null,
    kind       text not null check (kind in (
                   'port_opened', 'port_reopened', 'port_closed',
                   'service_changed', 'version_changed', 'banner_changed',
                   'host_appeared', 'host_returned', 'host_vanished',
                   'hostname_changed', 'mac_changed', 'os_changed', 'address_changed',
                   'certificate_changed', 'host_key_changed', 'ssh_changed')),
    severity   text not null default 'info' check (severity in ('info', 'medium', 'high', 'critical')),
    address    host_address not null,
    port       port_number,
    transport  transport,
    -- The fields that differ, before and after.
    before     jsonb,
    after      jsonb,
    check ((port is null) = (transport is null))
);
create index changes_at_idx on changes (at desc, id desc);
create index changes_network_idx on changes (network_id, id desc);
create index changes_scan_idx on changes (scan_id);
create index changes_host_idx on changes (host_id, id desc);
create index changes_address_idx on changes (address, id desc);

-- Every port reply as it came, by month. Bulk-inserted; retention drops whole partitions. No foreign keys and no
-- unique key: they would cost more than the rows, and the batch number already keeps repeats out.
create table observations (
    seen_at    timestamptz not null,
    network_id bigint not null,
    scan_id    bigint not null,
    address    inet not null,
    port       integer not null,
    transport  text not null,
    state      text not null,
    reason     text not null,
    ttl        smallint,
    rtt_us     integer
) partition by range (seen_at);
create index observations_endpoint_idx on observations (address, port, seen_at);
create index observations_seen_idx on observations using brin (seen_at);
-- Takes what no month was made for (an agent with a wrong clock), so that nothing is refused.
create table observations_default partition of observations default;

-- Makes the partition of the month that holds `moment`, if there is none. Called ahead of time by the server.
create function make_observation_partition(moment timestamptz) returns text language plpgsql as $$
declare
    first_day timestamp := date_trunc('month', moment at time zone 'UTC');
    part text := 'observations_' || to_char(first_day, 'YYYY_MM');
begin
    if to_regclass(part) is null then
        execute format(
            'create table %I partition of observations for values from (%L) to (%L)',
            part, first_day at time zone 'UTC', (first_day + interval '1 month') at time zone 'UTC');
    end if;
    return part;
end
$$;

-- SSH servers' offers, one row a run, so that regressions can be told.
create table ssh_audits (
    id               bigint generated always as identity primary key,
    scan_id          bigint not null references scans on delete cascade,
    network_id       bigint not null references networks on delete cascade,
    host_id          bigint references hosts on delete set null,
    address          host_address not null,
    port             port_number not null,
    observed_at      timestamptz not null,
    publickey_enabled boolean not null default false,
    password_enabled boolean not null default false,
    keyboard_interactive_enabled boolean not null default false,
    ssh_version      text,
    protocol_version text,
    server_banner    text,
    -- Arrays of {name, keysize, is_weak, notes}.
    supported_ciphers jsonb,
    kex_algorithms   jsonb,
    mac_algorithms   jsonb,
    -- Arrays of names.
    host_key_types   jsonb,
    host_keys        jsonb,
    hassh            text,
    has_weak_ciphers boolean not null default false,
    has_weak_kex     boolean not null default false,
    has_weak_macs    boolean not null default false,
    unique (scan_id, address, port)
);
create index ssh_audits_endpoint_idx on ssh_audits (address, port, observed_at desc, id desc);
create index ssh_audits_network_idx on ssh_audits (network_id, id desc);

-- Certificates, each once, whoever presents it.
create table tls_certificates (
    id            bigint generated always as identity primary key,
    sha256        bytea not null unique check (length(sha256) = 32),
    subject       text not null,
    issuer        text not null,
    serial        text not null,
    alternative_names text[] not null default '{}',
    not_before    timestamptz not null,
    not_after     timestamptz not null,
    key           text not null,
    signature     text not null,
    self_signed   boolean not null,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null
);
create index tls_certificates_expiry_idx on tls_certificates (not_after);

-- Where a certificate was presented, as intervals like ports.
create table tls_endpoints (
    id             bigint generated always as identity primary key,
    network_id     bigint not null references networks on delete cascade,
    host_id        bigint references hosts on delete set null,
    address        host_address not null,
    port           port_number not null,
    transport      transport not null default 'tcp',
    certificate_id bigint not null references tls_certificates on delete cascade,
    tls_version    text,
    cipher         text,
    ja3s           text,
    first_seen_at  timestamptz not null,
    last_seen_at   timestamptz not null,
    until          timestamptz
);
create unique index tls_endpoints_current on tls_endpoints (network_id, address, port, transport) where until is null;
create index tls_endpoints_certificate_idx on tls_endpoints (certificate_id);
create index tls_endpoints_host_idx on tls_endpoints (host_id);

-- Figures by day for trends that must not read the fact tables.
create table network_days (
    network_id   bigint not null references networks on delete cascade,
    day          date not null,
    open_ports   integer not null default 0,
    hosts        integer not null default 0,
    opened       integer not null default 0,
    closed       integer not null default 0,
    primary key (network_id, day)
);

-- Free words on hosts.
create table tags (
    id    bigint generated always as identity primary key,
    name  text not null check (name <> '' and length(name) <= 64),
    color text
);
create unique index tags_name_key on tags (lower(name));
create table host_tags (
    host_id bigint not null references hosts on delete cascade,
    tag_id  bigint not null references tags on delete cascade,
    primary key (host_id, tag_id)
);
create index host_tags_tag_idx on host_tags (tag_id);

-- Known weaknesses, and where they apply. `confidence` says how exactly product and version were known.
create table vulnerabilities (
    id          text primary key,                               -- CVE-2024-6387
    summary     text not null,
    cvss_score  real check (cvss_score between 0 and 10),
    severity    text not null check (severity in ('none', 'low', 'medium', 'high', 'critical')),
    known_exploited boolean not null default false,
    remediation text,
    reference_urls text[] not null default '{}',
    published_at timestamptz,
    updated_at  timestamptz not null default now()
);
create table host_vulnerabilities (
    host_id       bigint not null references hosts on delete cascade,
    global_port_id bigint not null references global_ports on delete cascade,
    vulnerability_id text not null references vulnerabilities on delete cascade,
    confidence    text not null check (confidence in ('low', 'medium', 'high')),
    matched_product text,
    matched_version text,
    first_seen_at timestamptz not null,
    resolved_at   timestamptz,
    -- Accepted by someone: no longer counted.
    accepted_at   timestamptz,
    accepted_by   bigint references users on delete set null,
    accepted_reason text,
    primary key (global_port_id, vulnerability_id)
);
create index host_vulnerabilities_host_idx on host_vulnerabilities (host_id);
create index host_vulnerabilities_vulnerability_idx on host_vulnerabilities (vulnerability_id);

-- A filter worth keeping; shared ones are seen by everyone. Those with alert_on_match raise alerts.
create table saved_queries (
    id         bigint generated always as identity primary key,
    user_id    bigint not null references users on delete cascade,
    name       text not null check (name <> '' and length(name) <= 255),
    about      text not null check (about in ('hosts', 'ports', 'alerts', 'changes')),
    query      text not null,
    shared     boolean not null default false,
    alert_on_match boolean not null default false,
    created_at timestamptz not null default now(),
    unique (user_id, name)
);
