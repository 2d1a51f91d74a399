-- What someone must look at, what they made of it, and how they were told.

create table alerts (
    id          bigint generated always as identity primary key,
    kind        text not null check (kind in (
                    'new_port', 'not_allowed', 'blocked',
                    'ssh_insecure_auth', 'ssh_weak_cipher', 'ssh_weak_kex', 'ssh_outdated_version',
                    'ssh_config_regression',
                    'new_host', 'host_vanished', 'host_identity_changed', 'service_changed',
                    'tls_expired', 'tls_expiring', 'tls_weak',
                    'agent_offline', 'scan_failed', 'scan_missed', 'saved_query')),
    -- What the kind and the rules made of it when it was raised. An acknowledged alert reads as `info`, a global block
    -- rule made later lifts it to `critical`: both are worked out when it is read.
    severity    text not null check (severity in ('info', 'medium', 'high', 'critical')),
    -- Null = the whole installation (OPM: "Global").
    network_id  bigint references networks on delete cascade,
    scan_id     bigint references scans on delete set null,
    agent_id    bigint references agents on delete set null,
    host_id     bigint references hosts on delete set null,
    global_port_id bigint references global_ports on delete set null,
    change_id   bigint references changes on delete set null,
    -- Null in alerts that are not about an address (agents, coverage).
    address     host_address,
    port        port_number,
    transport   transport,
    message     text not null,
    -- Why it was raised: the rule, the values compared.
    detail      jsonb not null default '{}',
    -- At most one open alert with the same key: raising it again counts it instead.
    dedup_key   text not null,
    raised_count integer not null default 1,
    last_raised_at timestamptz not null,
    acknowledged boolean not null default false,
    acknowledged_at timestamptz,
    acknowledged_by bigint references users on delete set null,
    assigned_to_user_id bigint references users on delete set null,
    resolution_status text not null default 'open' check (resolution_status in ('open', 'in_progress', 'resolved')),
    resolved_at timestamptz,
    snoozed_until timestamptz,
    created_at  timestamptz not null,
    check (port is null or (address is not null and transport is not null))
);
create unique index alerts_one_open on alerts (dedup_key) where not acknowledged and resolution_status <> 'resolved';
create index alerts_list_idx on alerts (created_at desc, id desc);
create index alerts_open_idx on alerts (created_at desc, id desc) where not acknowledged;
create index alerts_network_idx on alerts (network_id, created_at desc);
create index alerts_kind_idx on alerts (kind, created_at desc);
create index alerts_address_idx on alerts (address, port);
create index alerts_host_idx on alerts (host_id);
create index alerts_scan_idx on alerts (scan_id);
create index alerts_global_port_idx on alerts (global_port_id);
create index alerts_change_idx on alerts (change_id) where change_id is not null;
create index alerts_assignee_idx on alerts (assigned_to_user_id) where assigned_to_user_id is not null;
create index alerts_snoozed_idx on alerts (snoozed_until) where snoozed_until is not null;

create table alert_comments (
    id         bigint generated always as identity primary key,
    alert_id   bigint not null references alerts on delete cascade,
    -- The author's account may go, the words stay with the name they were written under.
    user_id    bigint references users on delete set null,
    user_email text not null,
    comment    text not null check (comment <> '' and length(comment) <= 10000),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index alert_comments_alert_idx on alert_comments (alert_id, created_at, id);
create index alert_comments_user_idx on alert_comments (user_id);

-- What happened to an alert, in order.
create table alert_events (
    id        bigint generated always as identity primary key,
    alert_id  bigint not null references alerts on delete cascade,
    at        timestamptz not null,
    user_id   bigint references users on delete set null,
    user_email text,
    kind      text not null check (kind in (
                  'raised', 'raised_again', 'acknowledged', 'reopened', 'assigned', 'unassigned',
                  'status_changed', 'snoozed', 'unsnoozed', 'allowed', 'auto_resolved')),
    detail    jsonb not null default '{}'
);
create index alert_events_alert_idx on alert_events (alert_id, id);

-- Where alerts are sent.
create table channels (
    id         bigint generated always as identity primary key,
    name       text not null check (name <> '' and length(name) <= 255),
    kind       text not null check (kind in (
                   'email', 'webhook', 'slack', 'discord', 'teams', 'pagerduty', 'ntfy', 'gotify', 'telegram',
                   'syslog', 'mqtt')),
    -- Address and options; the secret part apart, so that no list or export carries it by accident.
    config     jsonb not null,
    secret     jsonb,
    -- Which alerts it gets: kinds, networks, lowest severity, quiet hours.
    filter     jsonb not null default '{}',
    enabled    boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index channels_name_key on channels (lower(name));

-- Messages on their way. Written in the transaction that raises the alert, so that a roll-back sends nothing and a
-- crash loses nothing; taken with FOR UPDATE SKIP LOCKED.
create table outbox (
    id         bigint generated always as identity primary key,
    channel_id bigint not null references channels on delete cascade,
    alert_id   bigint references alerts on delete cascade,
    payload    jsonb not null,
    state      text not null default 'waiting' check (state in ('waiting', 'sent', 'given_up')),
    attempts   integer not null default 0,
    next_attempt_at timestamptz not null,
    created_at timestamptz not null,
    unique (channel_id, alert_id)
);
create index outbox_due_idx on outbox (next_attempt_at, id) where state = 'waiting';
create index outbox_alert_idx on outbox (alert_id);

-- Each attempt, for the delivery log.
create table deliveries (
    id          bigint generated always as identity primary key,
    outbox_id   bigint references outbox on delete cascade,
    channel_id  bigint not null references channels on delete cascade,
    at          timestamptz not null,
    succeeded   boolean not null,
    status      integer,
    error       text,
    duration_ms integer not null
);
create index deliveries_channel_idx on deliveries (channel_id, id desc);
create index deliveries_outbox_idx on deliveries (outbox_id);
