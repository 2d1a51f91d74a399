-- Whether a network's inventory was ever taken: what its first scan finds is to be reviewed as a whole, not port by port.

-- When a scan of the whole network was first completed. Null: not yet, everything is new to it.
alter table networks add column first_scanned_at timestamptz;

-- Scans may have been deleted; then the ports they left tell.
update networks n set first_scanned_at = coalesce(
    (select min(s.completed_at) from scans s
     where s.network_id = n.id and s.kind = 'scan' and s.status = 'completed' and s.target_address is null),
    (select min(p.first_seen_at) from ports p
     where p.network_id = n.id and not exists (select from scans s where s.id = p.first_scan_id)));
