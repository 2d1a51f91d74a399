import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, MoreHorizontal, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { agentsQuery, networksQuery } from "@/api/queries";
import type { Agent } from "@/api/types";
import { enrolmentCommand, isClearText } from "@/lib/enrol";
import { useCan } from "@/lib/session";
import { Button, IconButton } from "@/ui/button";
import { CopyBlock } from "@/ui/copy";
import { Confirm, Dialog } from "@/ui/dialog";
import { Field, Input } from "@/ui/field";
import { StateMark } from "@/ui/marks";
import { Menu, MenuItem } from "@/ui/menu";
import { Page, Section } from "@/ui/page";
import { Empty, Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { NetworkLink } from "@/ui/values";

type Open =
  | { what: "enrol" }
  | { what: "opm" }
  | { what: "delete"; agent: Agent }
  | { what: "key"; agent: Agent }
  | null;

export function AgentsPage() {
  const agents = useQuery(agentsQuery);
  const { data: networks } = useQuery(networksQuery);
  const canEdit = useCan("admin");
  const [open, setOpen] = useState<Open>(null);
  const enrol = canEdit && (
    <Button
      kind="primary"
      icon={<Plus className="size-4" aria-hidden />}
      onClick={() => setOpen({ what: "enrol" })}
    >
      Enrol an agent
    </Button>
  );

  return (
    <Page
      title="Agents"
      lead="Agents scan. They call the server, never the other way round, so they need no open port."
      actions={
        <>
          {canEdit && <Button onClick={() => setOpen({ what: "opm" })}>Key for an OPM scanner</Button>}
          {enrol}
        </>
      }
    >
      <Section title="Agents" note={agents.data && `${agents.data.length} in all`} bare>
        <Loaded query={agents} what="The agents">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="No agent yet" action={enrol}>
                Run one on a machine that can reach the network: on this one to begin with.
              </Empty>
            ) : (
              <Table
                caption="Agents"
                rows={rows}
                rowKey={(agent) => agent.id}
                columns={[
                  {
                    id: "name",
                    head: "Name",
                    cell: (agent) => (
                      <>
                        <span className="font-semibold foreign">{agent.name}</span>
                        {agent.description && (
                          <p className="text-sm text-ink-2 foreign">{agent.description}</p>
                        )}
                      </>
                    ),
                  },
                  {
                    id: "state",
                    head: "State",
                    cell: (agent) => (
                      <StateMark
                        state={agent.online ? "online" : agent.last_seen_at ? "offline" : "waiting"}
                      />
                    ),
                  },
                  { id: "seen", head: "Last heard of", cell: (agent) => <Time at={agent.last_seen_at} /> },
                  {
                    id: "networks",
                    head: "Networks",
                    from: "sm",
                    cell: (agent) => (
                      <span className="flex flex-wrap gap-x-3">
                        {(networks ?? [])
                          .filter((network) => network.scanner_id === agent.id)
                          .map((network) => (
                            <NetworkLink key={network.id} id={network.id} name={network.name} />
                          ))}
                      </span>
                    ),
                  },
                  {
                    id: "version",
                    head: "Version",
                    from: "md",
                    cell: (agent) => <span className="figures">{agent.scanner_version ?? "–"}</span>,
                  },
                  { id: "made", head: "Added", from: "lg", cell: (agent) => <Time at={agent.created_at} /> },
                  {
                    id: "do",
                    head: <span className="sr-only">Actions</span>,
                    right: true,
                    cell: (agent) =>
                      canEdit && (
                        <Menu
                          trigger={
                            <IconButton small label={`More for ${agent.name}`}>
                              <MoreHorizontal className="size-4" aria-hidden />
                            </IconButton>
                          }
                        >
                          <MenuItem
                            icon={<KeyRound className="size-4 text-ink-2" aria-hidden />}
                            onSelect={() => setOpen({ what: "key", agent })}
                          >
                            New key
                          </MenuItem>
                          <MenuItem
                            danger
                            icon={<Trash2 className="size-4" aria-hidden />}
                            onSelect={() => setOpen({ what: "delete", agent })}
                          >
                            Delete
                          </MenuItem>
                        </Menu>
                      ),
                  },
                ]}
              />
            )
          }
        </Loaded>
      </Section>
      {open?.what === "enrol" && <Enrol onClose={() => setOpen(null)} />}
      {open?.what === "opm" && <OpmScanner onClose={() => setOpen(null)} />}
      {open?.what === "key" && <NewKey agent={open.agent} onClose={() => setOpen(null)} />}
      {open?.what === "delete" && <DeleteAgent agent={open.agent} onClose={() => setOpen(null)} />}
    </Page>
  );
}

function Enrol({ onClose }: { onClose: () => void }) {
  const [description, setDescription] = useState("");
  const make = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/scanners/enrollment-tokens", { body: { description: description.trim() || null } }),
      ),
  });
  if (make.data) {
    const clear = isClearText(window.location);
    const command = enrolmentCommand(window.location.origin, make.data.token, clear);
    return (
      <Dialog
        title="Run this on the scanner host"
        onClose={onClose}
        wide
        footer={
          <Button kind="primary" onClick={onClose}>
            Done
          </Button>
        }
      >
        <CopyBlock text={command} label="Copy the command" />
        <p className="mt-3 text-ink-2">
          The token works once and ends <Time at={make.data.expires_at} />. It is shown only now. The agent
          appears in the list as soon as it has called.
        </p>
        {clear && (
          <p className="mt-3 border-l-[3px] border-high bg-high-wash px-3 py-2">
            This page came over plain http, so the agent's credential and all it finds will cross the network
            in clear text, and <span className="figures">--insecure-http</span> says that you accept that.
            Better: put a proxy with TLS before the server and open this page by its https address.
          </p>
        )}
      </Dialog>
    );
  }
  return (
    <Dialog
      title="Enrol an agent"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="enrol" busy={make.isPending}>
            Make a token
          </Button>
        </>
      }
    >
      <form
        id="enrol"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <Field
          label="What is it for?"
          hint="For your own list; the agent names itself."
          error={make.error ? errorText(make.error) : undefined}
        >
          <Input
            value={description}
            onChange={(event) => setDescription(event.target.value)}
            placeholder="Branch office"
          />
        </Field>
      </form>
    </Dialog>
  );
}

function OpmScanner({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const make = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/scanners", {
          body: { name: name.trim(), description: description.trim() || null },
        }),
      ),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ["agents"] }),
  });
  if (make.data) return <Key name={make.data.name} apiKey={make.data.api_key} onClose={onClose} />;
  return (
    <Dialog
      title="Key for an OPM scanner"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="opm" busy={make.isPending}>
            Make the key
          </Button>
        </>
      }
    >
      <form
        id="opm"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          make.mutate();
        }}
      >
        <p className="text-ink-2">
          Scanner agents of Open Port Monitor work with this server as they are; they sign in with a key.
        </p>
        <Field
          label="Name"
          required
          error={fieldError(make.error, "name") ?? (make.error ? errorText(make.error) : undefined)}
        >
          <Input value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        <Field label="Description">
          <Input value={description} onChange={(event) => setDescription(event.target.value)} />
        </Field>
      </form>
    </Dialog>
  );
}

function NewKey({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const make = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/scanners/{scanner_id}/regenerate-key", {
          params: { path: { scanner_id: agent.id } },
        }),
      ),
  });
  if (make.data) return <Key name={make.data.name} apiKey={make.data.api_key} onClose={onClose} />;
  return (
    <Confirm
      title={`A new key for ${agent.name}?`}
      action="Make a new key"
      busy={make.isPending}
      error={make.error ? errorText(make.error) : undefined}
      onConfirm={() => make.mutate()}
      onClose={onClose}
    >
      <p>The one it has stops working at once.</p>
    </Confirm>
  );
}

function Key({ name, apiKey, onClose }: { name: string; apiKey: string; onClose: () => void }) {
  return (
    <Dialog
      title={`The key of ${name}`}
      onClose={onClose}
      wide
      footer={
        <Button kind="primary" onClick={onClose}>
          Done
        </Button>
      }
    >
      <CopyBlock text={apiKey} label="Copy the key" />
      <p className="mt-3 text-ink-2">It is shown only now. Give it to the scanner as its API key.</p>
    </Dialog>
  );
}

function DeleteAgent({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const queries = useQueryClient();
  const remove = useMutation({
    mutationFn: () =>
      call(client.DELETE("/api/scanners/{scanner_id}", { params: { path: { scanner_id: agent.id } } })),
    onSuccess: () => {
      void queries.invalidateQueries();
      toast(`${agent.name} is deleted.`);
      onClose();
    },
  });
  return (
    <Confirm
      title={`Delete ${agent.name}?`}
      action="Delete it"
      busy={remove.isPending}
      error={remove.error ? errorText(remove.error) : undefined}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <p>Its credential stops working at once. Networks that it scans need another agent.</p>
    </Confirm>
  );
}
