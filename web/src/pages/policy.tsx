import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { Pencil, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { networksQuery, policyQuery } from "@/api/queries";
import type { PolicyRule } from "@/api/types";
import { useCan } from "@/lib/session";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Choice, Field, Input, Select } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { FilterBar, Page, Section } from "@/ui/page";
import { Empty, Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { AddressLink, NetworkLink } from "@/ui/values";

const route = getRouteApi("/app/policy");

const scopeOf = (rule: PolicyRule) => (rule.network_id == null ? "global" : "network");

export function PolicyPage() {
  const filter = route.useSearch();
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const { data: networks } = useQuery(networksQuery);
  const rules = useQuery(policyQuery(filter.network));
  const canEdit = useCan("operator");
  const [editing, setEditing] = useState<PolicyRule | "new" | null>(null);
  const refresh = () => {
    for (const key of ["policy", "networks", "alerts"]) void queries.invalidateQueries({ queryKey: [key] });
  };

  const restore = useMutation({
    mutationFn: ({ network_id, ip, port, rule_type, description }: PolicyRule) =>
      call(client.POST("/api/policy", { body: { network_id, ip, port, rule_type, description } })),
    onSuccess: refresh,
  });
  const remove = useMutation({
    mutationFn: (rule: PolicyRule) =>
      call(
        client.DELETE("/api/policy/{scope}/{rule_id}", {
          params: { path: { scope: scopeOf(rule), rule_id: rule.id } },
        }),
      ),
    onSuccess: (_, rule) => {
      refresh();
      toast("The rule is gone.", { undo: () => restore.mutate(rule) });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });

  return (
    <Page
      title="Policy"
      lead="What is expected. A rule for all networks that allows a port silences every alert about it; with an allow rule of its own, a network raises an alert for everything else; a blocked port is critical wherever it opens."
      actions={
        canEdit && (
          <Button
            kind="primary"
            icon={<Plus className="size-4" aria-hidden />}
            onClick={() => setEditing("new")}
          >
            Add a rule
          </Button>
        )
      }
    >
      <FilterBar label="Filter rules">
        <Field label="That hold in" className="w-56">
          <Select
            value={filter.network ?? ""}
            onChange={(event) => navigate({ search: { network: Number(event.target.value) || undefined } })}
            options={[
              { value: "", label: "Any network" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
      </FilterBar>
      <Section title="Rules" note={rules.data && `${rules.data.length} in all`} bare>
        <Loaded query={rules} what="The rules">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="No rules yet">
                Everything new raises an alert. The quickest way to a rule is “Expected” on an alert: it
                writes the rule for you.
              </Empty>
            ) : (
              <Table
                caption="Rules"
                rows={rows}
                rowKey={(rule) => `${scopeOf(rule)} ${rule.id}`}
                columns={[
                  {
                    id: "type",
                    head: "Rule",
                    cell: (rule) => (
                      <Tag tone={rule.rule_type === "allow" ? "good" : "bad"}>{rule.rule_type}</Tag>
                    ),
                  },
                  {
                    id: "scope",
                    head: "Where",
                    cell: (rule) => <NetworkLink id={rule.network_id} name={rule.network_name} />,
                  },
                  {
                    id: "ip",
                    head: "Address",
                    cell: (rule) =>
                      rule.ip ? <AddressLink ip={rule.ip} /> : <span className="text-ink-3">any</span>,
                  },
                  {
                    id: "port",
                    head: "Port",
                    cell: (rule) => <span className="figures">{rule.port === "*" ? "any" : rule.port}</span>,
                  },
                  {
                    id: "why",
                    head: "Why",
                    from: "sm",
                    cell: (rule) => <span className="text-ink-2 foreign">{rule.description}</span>,
                  },
                  { id: "made", head: "Made", from: "lg", cell: (rule) => <Time at={rule.created_at} /> },
                  {
                    id: "do",
                    head: <span className="sr-only">Actions</span>,
                    right: true,
                    cell: (rule) =>
                      canEdit && (
                        <span className="inline-flex">
                          <IconButton small label="Edit this rule" onClick={() => setEditing(rule)}>
                            <Pencil className="size-3.5" aria-hidden />
                          </IconButton>
                          <IconButton small label="Remove this rule" onClick={() => remove.mutate(rule)}>
                            <Trash2 className="size-3.5" aria-hidden />
                          </IconButton>
                        </span>
                      ),
                  },
                ]}
              />
            )
          }
        </Loaded>
      </Section>
      {editing && (
        <RuleForm
          rule={editing === "new" ? undefined : editing}
          onSaved={refresh}
          onClose={() => setEditing(null)}
        />
      )}
    </Page>
  );
}

interface FormProps {
  rule: PolicyRule | undefined;
  onSaved: () => void;
  onClose: () => void;
}

function RuleForm({ rule, onSaved, onClose }: FormProps) {
  const { data: networks } = useQuery(networksQuery);
  const [draft, setDraft] = useState({
    network: rule?.network_id == null ? "" : String(rule.network_id),
    ip: rule?.ip ?? "",
    port: rule?.port ?? "",
    rule_type: rule?.rule_type ?? ("allow" as const),
    description: rule?.description ?? "",
  });
  const save = useMutation({
    mutationFn: () => {
      const body = {
        ip: draft.ip.trim() || null,
        port: draft.port.trim(),
        rule_type: draft.rule_type,
        description: draft.description.trim() || null,
      };
      return rule
        ? call(
            client.PATCH("/api/policy/{scope}/{rule_id}", {
              params: { path: { scope: scopeOf(rule), rule_id: rule.id } },
              body,
            }),
          )
        : call(client.POST("/api/policy", { body: { ...body, network_id: Number(draft.network) || null } }));
    },
    onSuccess: () => {
      onSaved();
      onClose();
    },
  });
  const set = (change: Partial<typeof draft>) => setDraft((old) => ({ ...old, ...change }));
  return (
    <Dialog
      title={rule ? "Edit the rule" : "Add a rule"}
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="rule" busy={save.isPending}>
            {rule ? "Save" : "Add it"}
          </Button>
        </>
      }
    >
      <form
        id="rule"
        className="grid gap-4 sm:grid-cols-2"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <div className="sm:col-span-2">
          <Choice
            label="Kind of rule"
            value={draft.rule_type}
            onChange={(rule_type) => set({ rule_type })}
            options={[
              { value: "allow", label: "Allow: it is expected" },
              { value: "block", label: "Block: it must never be open" },
            ]}
          />
        </div>
        <Field label="Where" className="sm:col-span-2">
          <Select
            disabled={rule !== undefined}
            value={draft.network}
            onChange={(event) => set({ network: event.target.value })}
            options={[
              { value: "", label: "All networks" },
              ...(networks ?? []).map((network) => ({ value: String(network.id), label: network.name })),
            ]}
          />
        </Field>
        <Field
          label="Port or range"
          required
          error={fieldError(save.error, "port")}
          hint="443, 8000-8100, or * for any."
        >
          <Input figures value={draft.port} onChange={(event) => set({ port: event.target.value })} />
        </Field>
        <Field label="Address" error={fieldError(save.error, "ip")} hint="Empty: any address.">
          <Input figures value={draft.ip} onChange={(event) => set({ ip: event.target.value })} />
        </Field>
        <Field label="Why" className="sm:col-span-2" error={fieldError(save.error, "description")}>
          <Input value={draft.description} onChange={(event) => set({ description: event.target.value })} />
        </Field>
        {save.error && (
          <p role="alert" className="text-critical foreign sm:col-span-2">
            {errorText(save.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
