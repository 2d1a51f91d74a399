-- Less to write for each port that a scan sees.
--
-- Each scan touches the last_seen_at of every port it sees, a page's rows all in one transaction. The new versions stay in
-- their page, with no index touched (HOT), only if there is room for as many as there were; the fifth that was left free so
-- far let most of them go elsewhere, with an entry in each of the indexes. The tables took that room anyway, as dead rows.
-- Pages that exist fill as before; they change over as their rows move.
alter table global_ports set (fillfactor = 45);
alter table ports set (fillfactor = 45);

-- A scan's ports are only ever looked up by their scan, which the unique key serves.
drop index scan_ports_address_idx;
drop index scan_ports_first_seen_idx;
