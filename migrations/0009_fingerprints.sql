-- What tells a service or a host apart beyond its address, to search by and to find the other places that show it.

-- Each as `kind:value`: ssh-key, hassh, cert, jarm, ja3s, favicon. Null where the service shows none.
-- `detail` has the same in their places; this is what is searched. Filled by the next scan that identifies the service.
alter table ports add column fingerprints text[];
create index ports_fingerprints_idx on ports using gin (fingerprints)
    where closed_at is null and fingerprints is not null;

-- 0-100: how sure device_type is. Null where no profile told it.
alter table hosts add column device_confidence smallint check (device_confidence between 0 and 100);
