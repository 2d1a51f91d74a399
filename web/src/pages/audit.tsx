import { getRouteApi } from "@tanstack/react-router";
import { call, client } from "@/api/client";
import type { AuditEntry } from "@/api/types";
import { count } from "@/lib/format";
import { useWindowed } from "@/lib/windowed";
import { Field } from "@/ui/field";
import { StateMark } from "@/ui/marks";
import { FilterBar, Page, Section } from "@/ui/page";
import { SearchInput } from "@/ui/search-input";
import { Empty } from "@/ui/states";
import { type Column, LongTable } from "@/ui/table";
import { Time } from "@/ui/time";

const route = getRouteApi("/app/audit");

const columns: readonly Column<AuditEntry>[] = [
  { id: "at", head: "When", width: "11rem", cell: (entry) => <Time at={entry.at} exact /> },
  {
    id: "who",
    head: "Who",
    cell: (entry) => (
      <span className="foreign">
        {entry.actor}{" "}
        <span className="text-ink-3">{entry.actor_kind === "user" ? "" : entry.actor_kind}</span>
      </span>
    ),
  },
  { id: "what", head: "Did", cell: (entry) => <span className="figures">{entry.action}</span> },
  {
    id: "to",
    head: "To",
    from: "md",
    cell: (entry) => (entry.target_kind ? `${entry.target_kind} ${entry.target_id ?? ""}` : "–"),
  },
  {
    id: "ok",
    head: "Outcome",
    width: "7rem",
    from: "sm",
    cell: (entry) => (
      <StateMark
        state={entry.succeeded ? "completed" : "failed"}
        label={entry.succeeded ? "done" : "refused"}
      />
    ),
  },
  {
    id: "from",
    head: "From",
    width: "10rem",
    from: "lg",
    cell: (entry) => <span className="figures">{entry.address ?? "–"}</span>,
  },
];

export function AuditPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const query = {
    ...(filter.action && { action: filter.action }),
    ...(filter.actor && { actor: filter.actor }),
  };
  const list = useWindowed<AuditEntry>(["audit", query], async (offset, limit) => {
    const page = await call(client.GET("/api/audit", { params: { query: { ...query, offset, limit } } }));
    return { rows: page.entries, total: page.total };
  });
  const set = (change: Partial<typeof filter>) =>
    navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  return (
    <Page
      title="Audit log"
      lead="Who did what, and when. Each entry is sealed with the one before it, so that none can be changed or left out unnoticed."
    >
      <FilterBar label="Filter the log">
        <Field label="Action" className="w-48">
          <SearchInput
            value={filter.action ?? ""}
            onChange={(action) => set({ action: action || undefined })}
          />
        </Field>
        <Field label="Who" className="w-56">
          <SearchInput value={filter.actor ?? ""} onChange={(actor) => set({ actor: actor || undefined })} />
        </Field>
      </FilterBar>
      <Section title="Entries" note={list.total !== undefined && `${count(list.total)} found`} bare>
        <LongTable
          caption="Audit log"
          what="The log"
          columns={columns}
          list={list}
          rowKey={(entry) => entry.id}
          empty={<Empty title="No entry matches" />}
        />
      </Section>
    </Page>
  );
}
