-- Housekeeping finds what nobody has seen for a year. The times are written once an hour at most, so that these indexes cost
-- next to nothing.
create index host_identifiers_seen_idx on host_identifiers (last_seen_at);
create index tls_certificates_seen_idx on tls_certificates (last_seen_at);
