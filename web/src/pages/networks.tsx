import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Plus, Radar } from "lucide-react";
import { agentsQuery, latestScansQuery, networksQuery } from "@/api/queries";
import type { Network } from "@/api/types";
import { useStartScan } from "@/lib/actions";
import { useCan } from "@/lib/session";
import { Button, IconButton } from "@/ui/button";
import { Tag } from "@/ui/marks";
import { Page, Section } from "@/ui/page";
import { Empty, Loaded } from "@/ui/states";
import { type Column, Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { StateMark } from "@/ui/marks";
import { NetworkForm } from "./network-form";

const route = getRouteApi("/app/networks");

export function NetworksPage() {
  const { new: creating } = route.useSearch();
  const navigate = route.useNavigate();
  const networks = useQuery(networksQuery);
  const { data: latest } = useQuery(latestScansQuery);
  const { data: agents } = useQuery(agentsQuery);
  const canEdit = useCan("operator");
  const start = useStartScan();

  const columns: readonly Column<Network>[] = [
    {
      id: "name",
      head: "Name",
      cell: (network) => (
        <Link
          to="/networks/$networkId"
          params={{ networkId: String(network.id) }}
          className="font-semibold foreign hover:text-sea hover:underline"
        >
          {network.name}
        </Link>
      ),
    },
    {
      id: "cidr",
      head: "Addresses",
      cell: (network) => (
        <span className="inline-flex flex-wrap items-center gap-1.5">
          <Link
            to="/ports"
            search={{ network: network.id }}
            className="figures hover:text-sea hover:underline"
          >
            {network.cidr}
          </Link>
          {network.is_ipv6 && <Tag>IPv6</Tag>}
        </span>
      ),
    },
    {
      id: "ports",
      head: "Ports",
      from: "md",
      cell: (network) => (
        <span className="figures foreign line-clamp-2 max-w-64 text-ink-2">
          {network.port_spec}
          {network.scan_protocol !== "tcp" && <span className="text-ink-3"> ({network.scan_protocol})</span>}
        </span>
      ),
    },
    {
      id: "agent",
      head: "Agent",
      from: "lg",
      cell: (network) =>
        agents?.find((agent) => agent.id === network.scanner_id)?.name ?? (
          <span className="text-ink-3">none</span>
        ),
    },
    {
      id: "schedule",
      head: "Schedule",
      from: "lg",
      cell: (network) =>
        network.scan_schedule ? (
          <span className="figures">{network.scan_schedule}</span>
        ) : (
          <span className="text-ink-3">by hand</span>
        ),
    },
    {
      id: "last",
      head: "Last scan",
      cell: (network) => {
        const scan = latest?.find((entry) => entry.network_id === network.id)?.scan;
        if (!scan) return <span className="text-ink-3">never</span>;
        return (
          <Link
            to="/scans/$scanId"
            params={{ scanId: String(scan.id) }}
            className="inline-flex items-center gap-1.5 hover:text-sea hover:underline"
          >
            <StateMark state={scan.status} bare />
            <Time at={scan.completed_at ?? scan.started_at} />
          </Link>
        );
      },
    },
    {
      id: "do",
      head: <span className="sr-only">Actions</span>,
      right: true,
      cell: (network) =>
        canEdit && (
          <IconButton
            small
            label={`Scan ${network.name}`}
            busy={start.isPending && start.variables === network.id}
            onClick={() => start.mutate(network.id)}
          >
            <Radar className="size-4" aria-hidden />
          </IconButton>
        ),
    },
  ];

  const add = canEdit && (
    <Button
      kind="primary"
      icon={<Plus className="size-4" aria-hidden />}
      onClick={() => navigate({ search: { new: true } })}
    >
      Add a network
    </Button>
  );
  return (
    <Page title="Networks" lead="What is watched, how, by which agent and when." actions={add}>
      <Section title="Networks" note={networks.data && `${networks.data.length} in all`} bare>
        <Loaded query={networks} what="The networks">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="No networks yet" action={add}>
                A network is a block of addresses that you are responsible for, with the ports to look at. An
                agent that can reach it does the scanning.
              </Empty>
            ) : (
              <Table caption="Networks" columns={columns} rows={rows} rowKey={(network) => network.id} />
            )
          }
        </Loaded>
      </Section>
      {creating && canEdit && <NetworkForm onClose={() => navigate({ search: {} })} />}
    </Page>
  );
}
