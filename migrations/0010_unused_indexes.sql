-- Less to write for each port that a scan sees for the first time, and for each reply.

-- No query compares lower(service) or lower(product): filters look for parts of names. They also kept updates of an
-- identified port from staying in its page.
drop index ports_service_idx;
drop index ports_product_idx;

-- Whether a port was open before is asked of the stretches that ended; those that last have ports_current.
drop index ports_history_idx;
create index ports_history_idx on ports (network_id, address, port, transport) where closed_at is not null;

-- Raw replies are appended and dropped by month; nothing looks one up by its endpoint.
drop index observations_endpoint_idx;
