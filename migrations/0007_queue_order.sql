-- Jobs are handed out in the order of their scans and shards, and not of their random names; leased ones are looked at
-- together with queued ones, since a lapsed lease puts a job up again.
drop index jobs_queue_idx;
create index jobs_queue_idx on jobs (created_at, scan_id, shard_index) where state in ('queued', 'leased');
