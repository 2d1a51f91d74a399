-- References out of tables that ingest fills by the thousand are kept by the side that deletes.
--
-- A foreign key checks each row that is written: nine such checks took half of the time of taking in a new port. Here
-- the numbers written come from rows that the same transaction has just written or locked, so there is nothing to find out;
-- what is needed is that deleting a host, a scan, a global port or a network takes its traces along. That is done once a
-- statement, not once a row. A transaction that writes such references holds the row it refers to (hosts and
-- global_ports by the upsert, scans by their figures, networks by the key that `ports` keeps), so a delete waits for it
-- and then sees what it wrote.

alter table global_ports drop constraint global_ports_host_id_fkey;
alter table ports drop constraint ports_host_id_fkey, drop constraint ports_global_port_id_fkey;
alter table scan_ports drop constraint scan_ports_scan_id_fkey;
alter table changes
    drop constraint changes_network_id_fkey, drop constraint changes_scan_id_fkey,
    drop constraint changes_host_id_fkey, drop constraint changes_global_port_id_fkey;

create function forget_hosts() returns trigger language plpgsql as $$
begin
    update global_ports set host_id = null where host_id in (select id from gone);
    update ports set host_id = null where host_id in (select id from gone);
    update changes set host_id = null where host_id in (select id from gone);
    return null;
end
$$;
create trigger hosts_forgotten after delete on hosts referencing old table as gone
    for each statement execute function forget_hosts();

create function forget_global_ports() returns trigger language plpgsql as $$
begin
    delete from ports where global_port_id in (select id from gone);
    update changes set global_port_id = null where global_port_id in (select id from gone);
    return null;
end
$$;
create trigger global_ports_forgotten after delete on global_ports referencing old table as gone
    for each statement execute function forget_global_ports();

create function forget_scans() returns trigger language plpgsql as $$
begin
    delete from scan_ports where scan_id in (select id from gone);
    update changes set scan_id = null where scan_id in (select id from gone);
    return null;
end
$$;
create trigger scans_forgotten after delete on scans referencing old table as gone
    for each statement execute function forget_scans();

create function forget_networks() returns trigger language plpgsql as $$
begin
    delete from changes where network_id in (select id from gone);
    return null;
end
$$;
create trigger networks_forgotten after delete on networks referencing old table as gone
    for each statement execute function forget_networks();

-- The partial index on open ports is not enough to find all ports of a host.
create index ports_closed_host_idx on ports (host_id) where closed_at is not null;
