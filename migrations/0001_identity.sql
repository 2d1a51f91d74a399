-- Who may come in: users, their sessions and keys, and the log of what they did.
--
-- Conventions of the whole schema
--   ids        bigint, made by the database; jobs alone have a uuid, since agents carry it around.
--   times      timestamptz. Columns that rules depend on have no default: the server's clock is an
--              argument there. `created_at` is bookkeeping and may default to now().
--   choices    text + CHECK, not enum types: a check can be widened or narrowed inside one transaction,
--              a value can be removed again, bulk statements pass plain text[], and a driver needs no
--              type look-up after a template clone.
--   addresses  domain host_address: an inet without a prefix length, because
--              inet '10.1.2.0/24' <> inet '10.1.2.0' and a stray prefix would hide rows from look-ups.
--   secrets    never stored. Passwords as argon2id strings; random tokens (256 bit) as SHA-256, which
--              needs no salt or stretching at that entropy and can be looked up by index.
--   deleting   each foreign key says what becomes of the child.

create domain host_address as inet
    check (masklen(value) = case family(value) when 4 then 32 else 128 end);

create domain port_number as integer
    check (value between 0 and 65535);

create domain transport as text
    check (value in ('tcp', 'udp', 'sctp'));

create table users (
    id               bigint generated always as identity primary key,
    email            text not null check (email <> '' and length(email) <= 255),
    -- argon2id in PHC form, or `$pbkdf2-sha256$…` from an import until its first log-in.
    password_hash    text not null,
    -- viewer < analyst (triage) < operator (scan, networks) < admin.
    role             text not null default 'viewer' check (role in ('viewer', 'analyst', 'operator', 'admin')),
    theme_preference text not null default 'system' check (theme_preference in ('light', 'dark', 'system')),
    -- True: the user sees only the networks in user_networks.
    limited_to_networks boolean not null default false,
    disabled_at      timestamptz,
    last_login_at    timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now()
);
-- Two spellings of one mailbox are one account.
create unique index users_email_key on users (lower(email));

-- What a browser or a bearer client shows after log-in. Opaque, revocable, seen in a list.
create table sessions (
    id           bigint generated always as identity primary key,
    user_id      bigint not null references users on delete cascade,
    token_hash   bytea not null unique check (length(token_hash) = 32),
    -- A cookie session is guarded against cross-site requests, a bearer session cannot be sent by a browser alone.
    kind         text not null check (kind in ('cookie', 'bearer')),
    created_at   timestamptz not null,
    last_used_at timestamptz not null,
    -- Slides with use, but never beyond `ends_at`.
    expires_at   timestamptz not null,
    ends_at      timestamptz not null,
    address      inet,
    user_agent   text
);
create index sessions_user_idx on sessions (user_id);
create index sessions_expiry_idx on sessions (expires_at);

-- For automation. A key can do what its scopes say and never more than its owner's role allows now.
create table api_keys (
    id           bigint generated always as identity primary key,
    user_id      bigint not null references users on delete cascade,
    name         text not null check (name <> '' and length(name) <= 255),
    -- First characters of the key, shown in lists so that people can tell keys apart.
    prefix       text not null,
    secret_hash  bytea not null unique check (length(secret_hash) = 32),
    -- Names of permissions, as `inventory:read`.
    scopes       text[] not null check (cardinality(scopes) > 0),
    created_at   timestamptz not null,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    last_used_address inet
);
create index api_keys_user_idx on api_keys (user_id);

-- Failed log-ins, counted by account and by network, so that every server process sees the same count.
-- subject: `account:<sha-256 of the address>` or `network:<prefix>`.
create table login_throttle (
    subject         text primary key,
    failures        integer not null,
    last_failure_at timestamptz not null,
    blocked_until   timestamptz
);
create index login_throttle_age_idx on login_throttle (last_failure_at);

-- The one-time link that makes the first admin. At most one row; gone when used.
create table setup_link (
    only_row   boolean primary key default true check (only_row),
    token_hash bytea not null check (length(token_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz not null
);

-- Append-only. Each entry's hash covers its fields and the hash before it, so that a changed or removed
-- line breaks the chain from there on.
create table audit_log (
    id          bigint primary key,
    at          timestamptz not null,
    actor_kind  text not null check (actor_kind in ('user', 'api_key', 'agent', 'system', 'command_line', 'anonymous')),
    actor_id    bigint,
    -- The name at that time: it must stay readable when the account is gone, hence no foreign key.
    actor_name  text not null,
    -- Dotted verb, as `user.create`.
    action      text not null,
    target_kind text,
    target_id   text,
    -- json, not jsonb: the exact text is what was hashed.
    detail      json not null,
    succeeded   boolean not null,
    address     inet,
    previous_hash bytea not null check (length(previous_hash) = 32),
    hash        bytea not null check (length(hash) = 32)
);
create index audit_log_at_idx on audit_log (at desc);
create index audit_log_actor_idx on audit_log (actor_kind, actor_id, id desc);
create index audit_log_action_idx on audit_log (action, id desc);

-- The end of the chain. Writers lock this row, which orders them; it also reveals a cut-off tail.
create table audit_head (
    only_row boolean primary key default true check (only_row),
    last_id  bigint not null,
    hash     bytea not null check (length(hash) = 32)
);
insert into audit_head (last_id, hash) values (0, decode(repeat('00', 32), 'hex'));

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;
create trigger audit_log_append_only before update or delete on audit_log
    for each row execute function refuse_change();
create trigger audit_log_no_truncate before truncate on audit_log
    for each statement execute function refuse_change();

-- Values that have one place: `ssh_alert_defaults`, `retention`, … Their shapes belong to the code that reads them.
create table settings (
    key        text primary key,
    value      jsonb not null,
    updated_at timestamptz not null default now(),
    updated_by bigint references users on delete set null
);
