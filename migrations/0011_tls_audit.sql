-- TLS servers are asked for every version they take and for their JARM fingerprint, as SSH servers are for their offer.
-- Twelve connections more to each; jobs that are planned already go on without.
alter table networks add column tls_audit boolean not null default true;
