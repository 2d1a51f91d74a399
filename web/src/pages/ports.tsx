import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { call, client } from "@/api/client";
import { networksQuery } from "@/api/queries";
import type { OpenPort } from "@/api/types";
import { count } from "@/lib/format";
import { portBounds, portRange } from "@/lib/search";
import { useWindowed } from "@/lib/windowed";
import { buttonLook } from "@/ui/button";
import { Field, Select } from "@/ui/field";
import { FilterBar, Page, Section } from "@/ui/page";
import { SearchInput } from "@/ui/search-input";
import { Empty } from "@/ui/states";
import { type Column, LongTable } from "@/ui/table";
import { Time } from "@/ui/time";
import { AddressLink, HostLink, NetworkLink, PortLink, Product, ServiceLink } from "@/ui/values";

const route = getRouteApi("/app/ports");

const columns: readonly Column<OpenPort>[] = [
  {
    id: "ip",
    head: "Address",
    width: "10.5rem",
    sort: "ip",
    cell: (port) => <AddressLink ip={port.ip} hostId={port.host_id} />,
  },
  {
    id: "port",
    head: "Port",
    width: "6.5rem",
    sort: "port",
    cell: (port) => <PortLink port={port.port} protocol={port.protocol} />,
  },
  {
    id: "service",
    head: "Service",
    width: "9rem",
    cell: (port) => <ServiceLink service={port.service_guess} />,
  },
  {
    id: "product",
    head: "Product",
    from: "md",
    cell: (port) => <Product product={port.product} version={port.version} />,
  },
  {
    id: "name",
    head: "Host",
    from: "xl",
    width: "11rem",
    cell: (port) =>
      port.hostname && port.host_id != null ? (
        <HostLink id={port.host_id} name={port.hostname} />
      ) : (
        <span className="text-ink-3">–</span>
      ),
  },
  {
    id: "network",
    head: "Network",
    width: "10rem",
    from: "lg",
    cell: (port) => <NetworkLink id={port.network_id} name={port.network_name} />,
  },
  {
    id: "first",
    head: "First seen",
    width: "7.5rem",
    sort: "first_seen_at",
    from: "lg",
    cell: (port) => <Time at={port.first_seen_at} />,
  },
  {
    id: "last",
    head: "Last seen",
    width: "7.5rem",
    sort: "last_seen_at",
    from: "sm",
    cell: (port) => <Time at={port.last_seen_at} />,
  },
];

export function PortsPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const { data: networks } = useQuery(networksQuery);
  const query = {
    ...(filter.network && { network_id: filter.network }),
    ...(filter.ip && { ip_range: filter.ip }),
    ...(filter.protocol && { protocol: filter.protocol }),
    ...(filter.service && { service: filter.service }),
    ...(filter.fingerprint && { fingerprint: filter.fingerprint }),
    ...portBounds(filter.port),
    sort_by: filter.sort ?? "ip",
    sort_dir: filter.dir ?? "asc",
  };
  const list = useWindowed<OpenPort>(["ports", query], async (offset, limit) => {
    const page = await call(client.GET("/api/ports", { params: { query: { ...query, offset, limit } } }));
    return { rows: page.ports, total: page.total };
  });
  const set = (change: Partial<typeof filter>) =>
    navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const filtered =
    filter.network || filter.ip || filter.port || filter.service || filter.protocol || filter.fingerprint;

  return (
    <Page
      title="Open ports"
      lead="What is open now, in every network. A port counts as closed only when it was probed and did not answer."
    >
      <FilterBar label="Filter ports">
        <Field label="Address, block or range" className="w-full sm:w-60">
          <SearchInput
            value={filter.ip ?? ""}
            placeholder="10.0.0.0/24"
            onChange={(ip) => set({ ip: ip || undefined })}
          />
        </Field>
        <Field label="Port or range" className="w-32">
          <SearchInput
            value={filter.port ?? ""}
            placeholder="8000-8100"
            onChange={(port) => set({ port: portRange(port) })}
          />
        </Field>
        <Field label="Service" className="w-36">
          <SearchInput
            value={filter.service ?? ""}
            placeholder="ssh"
            onChange={(service) => set({ service: service || undefined })}
          />
        </Field>
        <Field label="Key or fingerprint" className="w-48">
          <SearchInput
            value={filter.fingerprint ?? ""}
            placeholder="ssh-key:SHA256:…"
            onChange={(fingerprint) => set({ fingerprint: fingerprint || undefined })}
          />
        </Field>
        <Field label="Transport" className="w-24">
          <Select
            value={filter.protocol ?? ""}
            onChange={(event) =>
              set({ protocol: (event.target.value || undefined) as typeof filter.protocol })
            }
            options={[
              { value: "", label: "All" },
              { value: "tcp", label: "TCP" },
              { value: "udp", label: "UDP" },
              { value: "sctp", label: "SCTP" },
            ]}
          />
        </Field>
        <Field label="Network" className="w-44">
          <Select
            value={filter.network ?? ""}
            onChange={(event) => set({ network: Number(event.target.value) || undefined })}
            options={[
              { value: "", label: "All" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
      </FilterBar>
      <Section
        title="Open ports"
        note={list.total !== undefined && `${count(list.total)} found`}
        bare
        actions={
          filtered && (
            <Link to="/ports" className={buttonLook("quiet", true)}>
              Clear filters
            </Link>
          )
        }
      >
        <LongTable
          caption="Open ports"
          what="The ports"
          columns={columns}
          list={list}
          rowKey={(port) => `${port.network_id} ${port.ip} ${port.port} ${port.protocol}`}
          sorting={{
            by: filter.sort ?? "ip",
            dir: filter.dir,
            onSort: (sort, dir) => set({ sort: sort as typeof filter.sort, dir }),
          }}
          empty={
            filtered ? (
              <Empty
                title="No open port matches"
                action={
                  <Link to="/ports" className={buttonLook()}>
                    Clear filters
                  </Link>
                }
              >
                Nothing fits all the filters above.
              </Empty>
            ) : (
              <Empty
                title="No open ports known"
                action={
                  <Link to="/networks" className={buttonLook("primary")}>
                    To the networks
                  </Link>
                }
              >
                Scan a network first; ports appear here while the scan runs.
              </Empty>
            )
          }
        />
      </Section>
    </Page>
  );
}
