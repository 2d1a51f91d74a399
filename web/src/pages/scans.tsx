import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { networksQuery, scansQuery } from "@/api/queries";
import { count } from "@/lib/format";
import { Button, buttonLook } from "@/ui/button";
import { Check, Field, Select } from "@/ui/field";
import { FilterBar, Page, Section } from "@/ui/page";
import { Empty, Loaded } from "@/ui/states";
import { ScanList } from "./scan-list";

const route = getRouteApi("/app/scans");
const STEP = 50;

export function ScansPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const [limit, setLimit] = useState(STEP);
  const { data: networks } = useQuery(networksQuery);
  const scans = useQuery(
    scansQuery({
      ...(filter.network && { network_id: filter.network }),
      ...(filter.status && { status: filter.status }),
      ...(filter.hidden && { include_hidden: true }),
      limit,
    }),
  );
  const set = (change: Partial<typeof filter>) =>
    navigate({ search: (old) => ({ ...old, ...change }), replace: true });

  return (
    <Page title="Scans" lead="Every run, newest first. Running ones are shown live.">
      <FilterBar label="Filter scans">
        <Field label="Network" className="w-48">
          <Select
            value={filter.network ?? ""}
            onChange={(event) => set({ network: Number(event.target.value) || undefined })}
            options={[
              { value: "", label: "All" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
        <Field label="Status" className="w-40">
          <Select
            value={filter.status ?? ""}
            onChange={(event) => set({ status: (event.target.value || undefined) as typeof filter.status })}
            options={[
              { value: "", label: "All" },
              ...["planned", "running", "completed", "failed", "cancelled"].map((value) => ({
                value,
                label: value,
              })),
            ]}
          />
        </Field>
        <Check
          className="h-8 items-center!"
          label="Show hidden ones"
          checked={filter.hidden ?? false}
          onChange={(event) => set({ hidden: event.target.checked || undefined })}
        />
      </FilterBar>
      <Section title="Scans" note={scans.data && `${count(scans.data.total)} found`} bare>
        <Loaded query={scans} what="The scans" rows={8}>
          {({ scans: rows, total }) =>
            rows.length === 0 ? (
              <Empty
                title={filter.network || filter.status ? "No scan matches" : "No scans yet"}
                action={
                  <Link to="/networks" className={buttonLook("primary")}>
                    To the networks
                  </Link>
                }
              >
                Start one from a network's page, or give the network a schedule.
              </Empty>
            ) : (
              <>
                <ScanList scans={rows} withNetwork={!filter.network} />
                {rows.length < total && limit < 200 && (
                  <div className="border-t border-line p-3">
                    <Button
                      busy={scans.isFetching}
                      onClick={() => setLimit((old) => Math.min(200, old + STEP))}
                    >
                      Show more
                    </Button>
                  </div>
                )}
              </>
            )
          }
        </Loaded>
      </Section>
    </Page>
  );
}
