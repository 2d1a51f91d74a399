-- Which job of a run reported a port. An agent that calls a host suspicious speaks for its own reports, not for others'.

-- The job's shard_index. Null where several jobs reported the port, and for agents that are not given jobs.
alter table scan_ports add column shard_index integer;
