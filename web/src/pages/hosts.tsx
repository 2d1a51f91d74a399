import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { call, client } from "@/api/client";
import { networksQuery } from "@/api/queries";
import type { Host } from "@/api/types";
import { count } from "@/lib/format";
import { useWindowed } from "@/lib/windowed";
import { buttonLook } from "@/ui/button";
import { Field, Select } from "@/ui/field";
import { StateMark } from "@/ui/marks";
import { FilterBar, Page, Section } from "@/ui/page";
import { SearchInput } from "@/ui/search-input";
import { Empty } from "@/ui/states";
import { type Column, LongTable } from "@/ui/table";
import { Time } from "@/ui/time";
import { AddressLink, HostLink } from "@/ui/values";

const route = getRouteApi("/app/hosts");

const columns: readonly Column<Host>[] = [
  {
    id: "ip",
    head: "Address",
    width: "11rem",
    sort: "ip",
    cell: (host) => <AddressLink ip={host.ip} hostId={host.id} />,
  },
  {
    id: "name",
    head: "Name",
    sort: "hostname",
    cell: (host) =>
      host.hostname ? <HostLink id={host.id} name={host.hostname} /> : <span className="text-ink-3">–</span>,
  },
  {
    id: "ports",
    head: "Open ports",
    width: "6.5rem",
    right: true,
    cell: (host) => (
      <Link to="/ports" search={{ ip: host.ip }} className="figures hover:text-sea hover:underline">
        {host.open_port_count ?? 0}
      </Link>
    ),
  },
  {
    id: "up",
    head: "Answers",
    width: "7rem",
    from: "md",
    cell: (host) =>
      host.is_pingable === null ? (
        <span className="text-ink-3">not asked</span>
      ) : (
        <StateMark
          state={host.is_pingable ? "online" : "open"}
          label={host.is_pingable ? "to ping" : "not to ping"}
        />
      ),
  },
  {
    id: "mac",
    head: "Hardware",
    width: "15rem",
    from: "xl",
    cell: (host) => (
      <>
        <span className="figures">{host.mac_address}</span>{" "}
        <span className="text-ink-3 foreign">{host.mac_vendor}</span>
      </>
    ),
  },
  {
    id: "note",
    head: "Note",
    from: "lg",
    cell: (host) => <span className="text-ink-2 foreign">{host.user_comment}</span>,
  },
  {
    id: "first",
    head: "First seen",
    width: "8rem",
    sort: "first_seen_at",
    from: "lg",
    cell: (host) => <Time at={host.first_seen_at} />,
  },
  {
    id: "last",
    head: "Last seen",
    width: "8rem",
    sort: "last_seen_at",
    from: "sm",
    cell: (host) => <Time at={host.last_seen_at} />,
  },
];

export function HostsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const { data: networks } = useQuery(networksQuery);
  const query = {
    ...(filter.network && { network_id: filter.network }),
    ...(filter.up !== undefined && { is_pingable: filter.up }),
    ...(filter.q && (filter.q.includes("/") ? { ip_range: filter.q } : { ip_search: filter.q })),
    sort_by: filter.sort ?? "ip",
    sort_dir: filter.dir ?? "asc",
  };
  const list = useWindowed<Host>(["hosts", query], async (offset, limit) => {
    const page = await call(client.GET("/api/hosts", { params: { query: { ...query, offset, limit } } }));
    return { rows: page.hosts, total: page.total_count };
  });
  const filtered = filter.network || filter.q || filter.up !== undefined;

  return (
    <Page
      title="Hosts"
      lead="Every address that ever answered, with what is open there now."
      actions={
        <a href="/api/hosts/export/csv" className={buttonLook()} download>
          CSV
        </a>
      }
    >
      <FilterBar label="Filter hosts">
        <Field label="Address or block" className="w-full sm:w-64">
          <SearchInput
            value={filter.q ?? ""}
            placeholder="10.0.0 or 10.0.0.0/24"
            onChange={(q) => navigate({ search: (old) => ({ ...old, q: q || undefined }), replace: true })}
          />
        </Field>
        <Field label="Network" className="w-48">
          <Select
            value={filter.network ?? ""}
            onChange={(event) =>
              navigate({ search: (old) => ({ ...old, network: Number(event.target.value) || undefined }) })
            }
            options={[
              { value: "", label: "All" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
        <Field label="Answers to ping" className="w-36">
          <Select
            value={filter.up === undefined ? "" : String(filter.up)}
            onChange={(event) =>
              navigate({
                search: (old) => ({
                  ...old,
                  up: event.target.value === "" ? undefined : event.target.value === "true",
                }),
              })
            }
            options={[
              { value: "", label: "All" },
              { value: "true", label: "Yes" },
              { value: "false", label: "No" },
            ]}
          />
        </Field>
      </FilterBar>
      <Section title="Hosts" note={list.total !== undefined && `${count(list.total)} found`} bare>
        <LongTable
          caption="Hosts"
          what="The hosts"
          columns={columns}
          list={list}
          rowKey={(host) => host.id}
          sorting={{
            by: filter.sort ?? "ip",
            dir: filter.dir,
            onSort: (sort, dir) =>
              navigate({
                search: (old) => ({ ...old, sort: sort as typeof filter.sort, dir }),
                replace: true,
              }),
          }}
          empty={
            filtered ? (
              <Empty
                title="No host matches"
                action={
                  <Link to="/hosts" className={buttonLook()}>
                    Show all
                  </Link>
                }
              >
                Nothing fits all the filters above.
              </Empty>
            ) : (
              <Empty
                title="No hosts yet"
                action={
                  <Link to="/networks" className={buttonLook("primary")}>
                    To the networks
                  </Link>
                }
              >
                Scan a network, and what answers there appears here.
              </Empty>
            )
          }
        />
      </Section>
    </Page>
  );
}
