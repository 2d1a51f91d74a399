-- Who scans (agents) and what is scanned (networks), with the rules that judge what is found.

create table agents (
    id               bigint generated always as identity primary key,
    name             text not null check (name <> '' and length(name) <= 255),
    description      text,
    -- opm: speaks the contract of Open Port Monitor's agent; portreeve: our own protocol.
    kind             text not null check (kind in ('opm', 'portreeve')),
    credential_hash  bytea not null unique check (length(credential_hash) = 32),
    -- First characters of the credential, to tell it apart in lists.
    credential_prefix text not null,
    revoked_at       timestamptz,
    last_seen_at     timestamptz,
    version          text check (length(version) <= 50),
    hostname         text,
    -- The last Hello: backends, interfaces and attached networks.
    hello            jsonb,
    -- The host's own ceiling, as it told us; no server can raise it.
    max_rate_pps     integer check (max_rate_pps > 0),
    -- True while an alert says that it is away (set and cleared by the coverage check).
    reported_offline boolean not null default false,
    created_at       timestamptz not null default now(),
    created_by       bigint references users on delete set null
);
create unique index agents_name_key on agents (lower(name));

-- Short-lived access tokens of OPM's contract (15 minutes). Valid on agent routes only.
create table agent_tokens (
    token_hash bytea primary key check (length(token_hash) = 32),
    agent_id   bigint not null references agents on delete cascade,
    expires_at timestamptz not null
);
create index agent_tokens_agent_idx on agent_tokens (agent_id);
create index agent_tokens_expiry_idx on agent_tokens (expires_at);

-- One use turns a token into an agent with a credential of its own.
create table enrollment_tokens (
    id          bigint generated always as identity primary key,
    token_hash  bytea not null unique check (length(token_hash) = 32),
    prefix      text not null,
    description text,
    -- The agent is on the server's machine: enrolling makes the network "This machine" when there is none yet.
    creates_local_network boolean not null default false,
    created_by  bigint references users on delete set null,
    created_at  timestamptz not null,
    expires_at  timestamptz not null,
    used_at     timestamptz,
    used_by     bigint references agents on delete set null
);

create table networks (
    id             bigint generated always as identity primary key,
    name           text not null check (name <> '' and length(name) <= 255),
    -- As the user typed it, host bits and all: `192.0.2.77/24`, `2001:db8::/64`, `192.0.2.7`.
    cidr           text not null check (length(cidr) <= 43),
    -- The block it means; refuses text that is no address or network.
    block          cidr not null generated always as (network(cidr::inet)) stored,
    -- As typed: `22,80,8000-8100,U:53,!25`.
    port_spec      text not null check (port_spec <> '' and length(port_spec) <= 1000),
    -- Addresses, blocks and ranges inside `cidr` that are never sent to.
    exclude        text[] not null default '{}',
    -- Null: no agent works for it (its agent was deleted); it is not scanned, and that is an alert.
    agent_id       bigint references agents on delete set null,
    -- Cron line, null = only by hand; the zone it is meant in; when it is due next (null with no schedule).
    scan_schedule  text check (length(scan_schedule) <= 100),
    time_zone      text not null default 'UTC',
    next_run_at    timestamptz,
    -- Null = the agent's own choice.
    scan_rate      integer check (scan_rate > 0),
    scan_timeout   integer check (scan_timeout > 0),           -- seconds; null = 3600
    port_timeout   integer check (port_timeout > 0),           -- milliseconds; null = 1500
    retries        smallint not null default 1 check (retries between 0 and 10),
    -- Kept for OPM's clients and agents; our engine has one way of scanning.
    scanner_type   text not null default 'masscan' check (scanner_type in ('masscan', 'nmap')),
    scan_protocol  text not null default 'tcp' check (scan_protocol in ('tcp', 'udp', 'both')),
    identify       boolean not null default true,
    ssh_audit      boolean not null default true,
    host_discovery_enabled boolean not null default true,
    -- Jobs a scan is cut into, to be worked on side by side.
    shards         smallint not null default 1 check (shards between 1 and 256),
    -- Which alert types are on; null = the defaults in settings. Shape: docs/api.md.
    alert_config   jsonb,
    zone           text,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    check (scan_schedule is not null or next_run_at is null)
);
create unique index networks_name_key on networks (lower(name));
create index networks_agent_idx on networks (agent_id);
create index networks_due_idx on networks (next_run_at) where next_run_at is not null;
-- Which networks hold this address? (longest prefix first: order by masklen(block) desc)
create index networks_block_idx on networks using gist (block inet_ops);

-- The networks that a limited user may see.
create table user_networks (
    user_id    bigint not null references users on delete cascade,
    network_id bigint not null references networks on delete cascade,
    primary key (user_id, network_id)
);
create index user_networks_network_idx on user_networks (network_id);

-- Rules of one network. `port`: one port, a range `80-443`, or `*`; the numbers beside it are what the rule means.
create table port_rules (
    id          bigint generated always as identity primary key,
    network_id  bigint not null references networks on delete cascade,
    address     host_address,                                   -- null = every address of the network
    port        text not null check (length(port) <= 20),
    port_first  port_number not null,
    port_last   port_number not null,
    -- Null = every transport (OPM's rules know none).
    transport   transport,
    rule_type   text not null check (rule_type in ('allow', 'block')),
    description text,
    created_by  bigint references users on delete set null,
    created_at  timestamptz not null default now(),
    check (port_first <= port_last)
);
create index port_rules_network_idx on port_rules (network_id);

-- Rules of the whole installation; an allow here beats everything else.
create table global_port_rules (
    id          bigint generated always as identity primary key,
    address     host_address,
    port        text not null check (length(port) <= 20),
    port_first  port_number not null,
    port_last   port_number not null,
    transport   transport,
    rule_type   text not null check (rule_type in ('allow', 'block')),
    description text not null check (btrim(description) <> ''),
    created_by  bigint references users on delete set null,
    created_at  timestamptz not null default now(),
    check (port_first <= port_last)
);
create index global_port_rules_address_idx on global_port_rules (address);

-- Named scan settings that a network can be made from.
create table scan_profiles (
    id          bigint generated always as identity primary key,
    name        text not null check (name <> '' and length(name) <= 255),
    description text,
    port_spec   text not null,
    scan_protocol text not null default 'tcp' check (scan_protocol in ('tcp', 'udp', 'both')),
    scan_rate   integer check (scan_rate > 0),
    identify    boolean not null default true,
    ssh_audit   boolean not null default true,
    created_at  timestamptz not null default now()
);
create unique index scan_profiles_name_key on scan_profiles (lower(name));
