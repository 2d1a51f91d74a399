-- All findings about SSH last from scan to scan, those of agents that tell no fingerprint too.

-- Its service document tells of TLS or SSH.
alter table ports add column shows_crypto boolean not null default false;
update ports set shows_crypto = true
    where jsonb_typeof(detail->'tls') = 'object' or jsonb_typeof(detail->'ssh') = 'object';

drop index ports_crypto_idx;
create index ports_crypto_idx on ports (network_id) where closed_at is null and shows_crypto;
