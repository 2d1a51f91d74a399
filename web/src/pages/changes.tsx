import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { changeFeedQuery, networksQuery } from "@/api/queries";
import type { Change } from "@/api/types";
import { calendarDate, count, parseTime } from "@/lib/format";
import { changeKindOptions } from "@/lib/words";
import { Button, buttonLook } from "@/ui/button";
import { ChangeLine } from "@/ui/change-line";
import { Field, Select } from "@/ui/field";
import { FilterBar, Page, Section } from "@/ui/page";
import { SearchInput } from "@/ui/search-input";
import { Empty, Loaded } from "@/ui/states";

const route = getRouteApi("/app/changes");
const STEP = 100;

export function ChangesPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const { data: networks } = useQuery(networksQuery);
  const feed = useInfiniteQuery(
    changeFeedQuery({
      ...(filter.network && { network_id: filter.network }),
      ...(filter.kind && { kind: filter.kind }),
      ...(filter.ip && { ip: filter.ip }),
      limit: STEP,
    }),
  );
  const set = (change: Partial<typeof filter>) =>
    navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const rows = feed.data?.pages.flatMap((page) => page.changes);
  const filtered = filter.network || filter.kind || filter.ip;

  return (
    <Page
      title="Changes"
      lead="Everything that became different between one scan and the next, newest first."
    >
      <FilterBar label="Filter changes">
        <Field label="Address" className="w-full sm:w-56">
          <SearchInput
            value={filter.ip ?? ""}
            placeholder="10.0.0.7"
            onChange={(ip) => set({ ip: ip || undefined })}
          />
        </Field>
        <Field label="Kind" className="w-52">
          <Select
            value={filter.kind ?? ""}
            onChange={(event) => set({ kind: event.target.value || undefined })}
            options={[{ value: "", label: "All" }, ...changeKindOptions]}
          />
        </Field>
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
      </FilterBar>
      <Loaded query={{ ...feed, data: rows }} what="The changes" rows={10}>
        {(entries) =>
          entries.length === 0 ? (
            <section className="sheet">
              {filtered ? (
                <Empty
                  title="No change matches"
                  action={
                    <Link to="/changes" className={buttonLook()}>
                      Clear filters
                    </Link>
                  }
                />
              ) : (
                <Empty title="Nothing has changed yet">
                  The first scan of a network is its baseline. From the second on, differences appear here.
                </Empty>
              )}
            </section>
          ) : (
            <>
              {byDay(entries).map(([day, ofDay]) => (
                <Section
                  key={day}
                  title={<span className="figures">{day}</span>}
                  note={`${count(ofDay.length)} shown`}
                  bare
                >
                  <ul>
                    {ofDay.map((change) => (
                      <ChangeLine key={change.id} change={change} withNetwork={!filter.network} />
                    ))}
                  </ul>
                </Section>
              ))}
              {feed.hasNextPage && (
                <div>
                  <Button busy={feed.isFetchingNextPage} onClick={() => void feed.fetchNextPage()}>
                    Show earlier ones
                  </Button>
                </div>
              )}
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

function byDay(changes: readonly Change[]): [string, Change[]][] {
  const days = new Map<string, Change[]>();
  for (const change of changes) {
    const day = calendarDate(parseTime(change.at));
    days.set(day, [...(days.get(day) ?? []), change]);
  }
  return [...days];
}
