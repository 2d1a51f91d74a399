import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { meQuery, sessionsQuery, versionQuery } from "@/api/queries";
import { type Theme, useTheme } from "@/lib/theme";
import { Button } from "@/ui/button";
import { Choice, Field, Input } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { Page, Section } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { Table } from "@/ui/table";
import { Time } from "@/ui/time";
import { toast } from "@/ui/toast";
import { ApiKeys } from "./api-keys";

export function AccountPage() {
  const { data: me } = useQuery(meQuery);
  const { data: version } = useQuery(versionQuery);
  const [theme, setTheme] = useTheme();
  const choose = (value: Theme) => {
    setTheme(value);
    call(client.PUT("/api/auth/me", { body: { theme_preference: value } })).catch((error: unknown) =>
      toast(errorText(error), { tone: "bad" }),
    );
  };
  return (
    <Page
      title="Account"
      lead={
        <>
          <span className="foreign">{me?.email}</span>, {me?.role}
        </>
      }
    >
      <div className="grid items-start gap-4 lg:grid-cols-[22rem_minmax(0,1fr)]">
        <div className="flex flex-col gap-4">
          <Section title="Look">
            <Choice
              label="Theme"
              value={theme}
              onChange={choose}
              options={[
                { value: "light", label: "Light" },
                { value: "dark", label: "Dark" },
                { value: "system", label: "As the system" },
              ]}
            />
          </Section>
          <Password />
          <p className="text-sm text-ink-3">
            Portreeve <span className="figures">{version?.version}</span>
          </p>
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          <Sessions />
          <ApiKeys />
        </div>
      </div>
    </Page>
  );
}

function Password() {
  const empty = { current: "", next: "", again: "" };
  const [draft, setDraft] = useState(empty);
  const queries = useQueryClient();
  const differs = draft.again !== "" && draft.again !== draft.next;
  const change = useMutation({
    mutationFn: () =>
      call(
        client.POST("/api/auth/password", {
          body: { current_password: draft.current, new_password: draft.next },
        }),
      ),
    onSuccess: () => {
      setDraft(empty);
      void queries.invalidateQueries({ queryKey: sessionsQuery.queryKey });
      toast("The password is changed. All other sessions have ended.");
    },
  });
  const field = (name: keyof typeof draft) => ({
    type: "password",
    value: draft[name],
    onChange: (event: React.ChangeEvent<HTMLInputElement>) =>
      setDraft({ ...draft, [name]: event.target.value }),
  });
  return (
    <Section title="Password">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (!differs) change.mutate();
        }}
      >
        <Field label="Present password" required error={fieldError(change.error, "current_password")}>
          <Input autoComplete="current-password" {...field("current")} />
        </Field>
        <Field
          label="New password"
          required
          hint="At least 12 characters."
          error={fieldError(change.error, "new_password")}
        >
          <Input autoComplete="new-password" minLength={12} {...field("next")} />
        </Field>
        <Field label="New password again" required error={differs ? "The two differ." : undefined}>
          <Input autoComplete="new-password" {...field("again")} />
        </Field>
        {change.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(change.error)}
          </p>
        )}
        <Button type="submit" busy={change.isPending}>
          Change the password
        </Button>
      </form>
    </Section>
  );
}

function Sessions() {
  const queries = useQueryClient();
  const sessions = useQuery(sessionsQuery);
  const end = useMutation({
    mutationFn: (id: number) =>
      call(client.DELETE("/api/auth/sessions/{session_id}", { params: { path: { session_id: id } } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: sessionsQuery.queryKey }),
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
  const endOthers = useMutation({
    mutationFn: () => call(client.DELETE("/api/auth/sessions")),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: sessionsQuery.queryKey });
      toast("All other sessions have ended.");
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
  return (
    <Section
      title="Sessions"
      note="where you are signed in"
      bare
      actions={
        (sessions.data?.length ?? 0) > 1 && (
          <Button small busy={endOthers.isPending} onClick={() => endOthers.mutate()}>
            End all others
          </Button>
        )
      }
    >
      <Loaded query={sessions} what="The sessions">
        {(rows) => (
          <Table
            caption="Sessions"
            rows={rows}
            rowKey={(session) => session.id}
            columns={[
              {
                id: "agent",
                head: "Browser or program",
                cell: (session) => (
                  <span className="foreign line-clamp-2">
                    {session.user_agent ?? "not told"} {session.current && <Tag tone="good">this one</Tag>}
                  </span>
                ),
              },
              {
                id: "from",
                head: "From",
                from: "sm",
                cell: (session) => <span className="figures">{session.address ?? "–"}</span>,
              },
              { id: "used", head: "Last used", cell: (session) => <Time at={session.last_used_at} /> },
              { id: "ends", head: "Ends", from: "md", cell: (session) => <Time at={session.expires_at} /> },
              {
                id: "do",
                head: <span className="sr-only">Actions</span>,
                right: true,
                cell: (session) =>
                  !session.current && (
                    <Button
                      small
                      busy={end.isPending && end.variables === session.id}
                      onClick={() => end.mutate(session.id)}
                    >
                      End
                    </Button>
                  ),
              },
            ]}
          />
        )}
      </Loaded>
    </Section>
  );
}
