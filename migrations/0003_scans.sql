-- Runs of a network's scan, the jobs they are cut into, and what each run saw.
--
--   scan:  planned → running → completed | failed | cancelled            (the last three are final)
--   job:   queued → leased → done | failed | cancelled;  leased → queued when its lease runs out

create table scans (
    id           bigint generated always as identity primary key,
    network_id   bigint not null references networks on delete cascade,
    -- Set when the scan is made, and again at the claim: the one who works on it.
    agent_id     bigint references agents on delete set null,
    -- discovery: looks for hosts only (OPM: host discovery scan). One number range for both.
    kind         text not null default 'scan' check (kind in ('scan', 'discovery')),
    status       text not null default 'planned'
                 check (status in ('planned', 'running', 'completed', 'failed', 'cancelled')),
    trigger_type text not null check (trigger_type in ('manual', 'scheduled')),
    triggered_by bigint references users on delete set null,
    -- One host instead of the whole network.
    target_address host_address,
    hidden       boolean not null default false,
    queued_at    timestamptz not null,
    started_at   timestamptz,
    completed_at timestamptz,
    cancelled_at timestamptz,
    cancelled_by bigint references users on delete set null,
    error_message text,
    progress_percent real check (progress_percent between 0 and 100),
    progress_message text,
    -- Live figures of all jobs together.
    probes_sent  bigint not null default 0,
    probes_total bigint not null default 0,
    rate_pps     integer not null default 0,
    -- Rows in scan_ports, and hosts seen; kept here so that lists need no count.
    open_ports   integer not null default 0,
    hosts_discovered integer not null default 0,
    -- Share of open ports probably missed, 0-1, where the agents could estimate it.
    miss_estimate real check (miss_estimate between 0 and 1),
    -- The settings it ran with (ports, rate, exclusions), so that an old run can be understood, and which ports were
    -- really probed: only those may be called closed.
    parameters   jsonb not null default '{}',
    -- JobSummary of all jobs together.
    summary      jsonb,
    check ((status = 'planned') = (started_at is null) or status in ('cancelled', 'failed'))
);
create index scans_network_idx on scans (network_id, id desc);
create index scans_agent_idx on scans (agent_id, id desc);
create index scans_list_idx on scans (id desc) where kind = 'scan' and not hidden;
create index scans_active_idx on scans (status, id) where status in ('planned', 'running');
-- "The last good run of this network."
create index scans_completed_idx on scans (network_id, completed_at desc) where status = 'completed' and kind = 'scan';
-- At most one run at a time of the same thing; a schedule never queues behind itself.
create unique index scans_one_running on scans (network_id, kind, target_address) nulls not distinct
    where status = 'running';
create unique index scans_one_scheduled on scans (network_id, kind)
    where trigger_type = 'scheduled' and status in ('planned', 'running');

-- Work for agents: a shard of a scan. Claimed with FOR UPDATE SKIP LOCKED; every later write needs the token.
create table jobs (
    id               uuid primary key,
    scan_id          bigint not null references scans on delete cascade,
    -- Who may take it; null = any agent of kind portreeve.
    agent_id         bigint references agents on delete cascade,
    kind             text not null check (kind in ('scan', 'discovery')),
    shard_index      integer not null check (shard_index >= 0),
    shard_count      integer not null check (shard_count >= 1),
    state            text not null default 'queued' check (state in ('queued', 'leased', 'done', 'failed', 'cancelled')),
    -- The Job document handed out, without the lease.
    spec             jsonb not null,
    attempts         integer not null default 0,
    -- Not handed out before (back-off after a lost lease).
    not_before       timestamptz,
    lease_token      uuid,
    lease_expires_at timestamptz,
    leased_by        bigint references agents on delete set null,
    -- JobProgress as last told, JobSummary at the end.
    progress         jsonb,
    summary          jsonb,
    outcome          text check (outcome in ('completed', 'failed', 'cancelled')),
    error_message    text,
    created_at       timestamptz not null,
    started_at       timestamptz,
    finished_at      timestamptz,
    check (shard_index < shard_count),
    check ((state = 'leased') = (lease_token is not null and lease_expires_at is not null) or state in ('done', 'failed', 'cancelled')),
    unique (scan_id, shard_index)
);
create index jobs_queue_idx on jobs (created_at, id) where state = 'queued';
create index jobs_lease_idx on jobs (lease_expires_at) where state = 'leased';
create index jobs_agent_idx on jobs (agent_id);
create index jobs_leased_by_idx on jobs (leased_by);

-- Batches taken in: the primary key makes sending one twice harmless. Written in the batch's own transaction.
create table job_batches (
    job_id      uuid not null references jobs on delete cascade,
    number      integer not null check (number >= 0),
    records     integer not null,
    received_at timestamptz not null,
    primary key (job_id, number)
);

create table scan_logs (
    id      bigint generated always as identity primary key,
    scan_id bigint not null references scans on delete cascade,
    at      timestamptz not null,
    level   text not null check (level in ('info', 'warning', 'error')),
    message text not null
);
create index scan_logs_scan_idx on scan_logs (scan_id, at, id);

-- What one run found open. The current state is in `ports`; this is what diffs and exports of a run read.
create table scan_ports (
    id            bigint generated always as identity primary key,
    scan_id       bigint not null references scans on delete cascade,
    address       host_address not null,
    port          port_number not null,
    transport     transport not null,
    ttl           smallint,
    rtt_us        integer,
    reason        text,
    -- Flat fields for lists and filters. `service` is OPM's service_guess; `banner` what it shows.
    service       text,
    product       text,
    version       text,
    banner        text,
    mac_address   macaddr,
    mac_vendor    text,
    -- When the network first saw it open, and when this run saw it.
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    unique (scan_id, address, port, transport)
);
create index scan_ports_address_idx on scan_ports (address, port);
-- Trends: newly seen ports by day.
create index scan_ports_first_seen_idx on scan_ports (first_seen_at);

-- A schedule's firing belongs to whoever inserts the row: once, however many servers look at the clock.
create table schedule_claims (
    network_id bigint not null references networks on delete cascade,
    due_at     timestamptz not null,
    claimed_at timestamptz not null,
    -- Null: skipped, for the reason given (a run was still active, too late).
    scan_id    bigint references scans on delete set null,
    skipped    text,
    primary key (network_id, due_at)
);
create index schedule_claims_scan_idx on schedule_claims (scan_id);
