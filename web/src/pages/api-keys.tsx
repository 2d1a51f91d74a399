import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { apiKeysQuery } from "@/api/queries";
import { Button } from "@/ui/button";
import { CopyBlock } from "@/ui/copy";
import { Dialog } from "@/ui/dialog";
import { Check, Field, Input, Select } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { Section } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";

const DAY_MS = 86_400_000;

/** Keys for scripts: what they may do, until when. */
export function ApiKeys() {
  const queries = useQueryClient();
  const keys = useQuery(apiKeysQuery);
  const [making, setMaking] = useState(false);
  const revoke = useMutation({
    mutationFn: (id: number) =>
      call(client.DELETE("/api/api-keys/{key_id}", { params: { path: { key_id: id } } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: apiKeysQuery.queryKey });
      toast("The key is revoked.");
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
  return (
    <Section
      title="API keys"
      note="for scripts"
      bare
      actions={
        <Button small onClick={() => setMaking(true)}>
          Make a key
        </Button>
      }
    >
      <Loaded query={keys} what="The keys" rows={2}>
        {({ keys: rows }) =>
          rows.length === 0 ? (
            <p className="px-4 py-3 text-ink-2">
              None. A key lets a script use the{" "}
              <a href="/api/docs" className="text-sea underline">
                API
              </a>{" "}
              in your name, limited to what you allow it.
            </p>
          ) : (
            <Table
              caption="API keys"
              rows={rows}
              rowKey={(key) => key.id}
              columns={[
                {
                  id: "name",
                  head: "Name",
                  cell: (key) => (
                    <>
                      <span className="foreign">{key.name}</span>{" "}
                      <span className="figures text-ink-3">{key.prefix}…</span>
                    </>
                  ),
                },
                {
                  id: "scopes",
                  head: "May",
                  from: "sm",
                  cell: (key) => (
                    <span className="flex flex-wrap gap-1">
                      {key.scopes.map((scope) => (
                        <Tag key={scope}>{scope}</Tag>
                      ))}
                    </span>
                  ),
                },
                { id: "used", head: "Last used", from: "md", cell: (key) => <Time at={key.last_used_at} /> },
                {
                  id: "ends",
                  head: "Ends",
                  cell: (key) =>
                    key.revoked_at ? (
                      <Tag tone="bad">revoked</Tag>
                    ) : key.expires_at ? (
                      <Time at={key.expires_at} />
                    ) : (
                      "never"
                    ),
                },
                {
                  id: "do",
                  head: <span className="sr-only">Actions</span>,
                  right: true,
                  cell: (key) =>
                    !key.revoked_at && (
                      <Button
                        small
                        busy={revoke.isPending && revoke.variables === key.id}
                        onClick={() => revoke.mutate(key.id)}
                      >
                        Revoke
                      </Button>
                    ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {making && <MakeKey scopes={keys.data?.known_scopes ?? []} onClose={() => setMaking(false)} />}
    </Section>
  );
}

function MakeKey({ scopes, onClose }: { scopes: readonly string[]; onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const make = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/api-keys", {
          body: {
            name: name.trim(),
            scopes: [...chosen],
            expires_at: days === "" ? null : new Date(Date.now() + Number(days) * DAY_MS).toISOString(),
          },
        }),
      ),
    onSuccess: () => void queries.invalidateQueries({ queryKey: apiKeysQuery.queryKey }),
  });
  if (make.data) {
    return (
      <Dialog
        title={`The key ${make.data.name}`}
        onClose={onClose}
        wide
        footer={
          <Button kind="primary" onClick={onClose}>
            Done
          </Button>
        }
      >
        <CopyBlock text={make.data.api_key} label="Copy the key" />
        <p className="mt-3 text-ink-2">It is shown only now. Send it as “Authorization: Bearer …”.</p>
      </Dialog>
    );
  }
  const toggle = (scope: string) =>
    setChosen((old) => {
      const next = new Set(old);
      if (!next.delete(scope)) next.add(scope);
      return next;
    });
  return (
    <Dialog
      title="Make an API key"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            kind="primary"
            type="submit"
            form="api-key"
            busy={make.isPending}
            disabled={chosen.size === 0}
          >
            Make it
          </Button>
        </>
      }
    >
      <form
        id="api-key"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <Field label="Name" required error={fieldError(make.error, "name")}>
          <Input value={name} maxLength={255} onChange={(event) => setName(event.target.value)} />
        </Field>
        <Field label="Works for" error={fieldError(make.error, "expires_at")}>
          <Select
            value={days}
            onChange={(event) => setDays(event.target.value)}
            options={[
              { value: "7", label: "7 days" },
              { value: "90", label: "90 days" },
              { value: "365", label: "A year" },
              { value: "", label: "Until it is revoked" },
            ]}
          />
        </Field>
        <fieldset>
          <legend className="mb-1 text-sm font-semibold">What it may do</legend>
          <div className="grid gap-1 sm:grid-cols-2">
            {scopes.map((scope) => (
              <Check
                key={scope}
                label={<span className="figures">{scope}</span>}
                checked={chosen.has(scope)}
                onChange={() => toggle(scope)}
              />
            ))}
          </div>
        </fieldset>
        {make.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(make.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
