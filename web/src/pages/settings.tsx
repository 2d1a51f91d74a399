import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { sshAlertDefaultsQuery, tlsAlertDefaultsQuery } from "@/api/queries";
import type { SshAlertDefaults, TlsAlertDefaults } from "@/api/types";
import { Button } from "@/ui/button";
import { Check, Field, Input } from "@/ui/field";
import { Page, Section } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Values that count for the whole installation. */
export function SettingsPage() {
  const defaults = useQuery(sshAlertDefaultsQuery);
  const tls = useQuery(tlsAlertDefaultsQuery);
  return (
    <Page title="Settings" lead="What counts for all networks.">
      <Section title="SSH alerts" note="where a network has no alert settings of its own">
        <Loaded query={defaults} what="The settings" rows={5}>
          {(data) => <SshAlerts saved={data} />}
        </Loaded>
      </Section>
      <Section title="TLS alerts" note="where a network has no alert settings of its own">
        <Loaded query={tls} what="The settings" rows={4}>
          {(data) => <TlsAlerts saved={data} />}
        </Loaded>
      </Section>
    </Page>
  );
}

type Finding = Exclude<keyof SshAlertDefaults, "ssh_version_threshold">;

const findings: readonly { field: Finding; label: string; hint: string }[] = [
  {
    field: "ssh_insecure_auth",
    label: "Passwords are taken",
    hint: "A password or keyboard-interactive sign-in can be guessed; a key cannot.",
  },
  {
    field: "ssh_config_regression",
    label: "It became weaker than before",
    hint: "A weak algorithm or a sign-in by password came back.",
  },
  { field: "ssh_weak_cipher", label: "A cipher is weak", hint: "Current practice advises against it." },
  {
    field: "ssh_weak_kex",
    label: "A key exchange is weak",
    hint: "Most servers offer one as they are installed, so this finds nearly all of them.",
  },
  {
    field: "ssh_weak_mac",
    label: "A message authentication is weak",
    hint: "Old installations offer one beside better ones.",
  },
  { field: "ssh_weak_host_key", label: "Its own key is weak", hint: "Too short, or of an old kind." },
  { field: "ssh_outdated_version", label: "OpenSSH is old", hint: "Older than the version below." },
];

function SshAlerts({ saved }: { saved: SshAlertDefaults }) {
  const queries = useQueryClient();
  const [draft, setDraft] = useState(saved);
  const save = useMutation({
    mutationFn: () => call(client.PUT("/api/settings/ssh-alert-defaults", { body: draft })),
    onSuccess: (now) => {
      queries.setQueryData(sshAlertDefaultsQuery.queryKey, now);
      setDraft(now);
      toast("Saved. It counts from the next scan on.");
    },
  });
  const wrong = fieldError(save.error, "ssh_version_threshold");
  return (
    <form
      className="flex max-w-prose flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <fieldset className="flex flex-col gap-3">
        <legend className="mb-3 text-ink-2">An alert is raised when an SSH server is audited and</legend>
        {findings.map(({ field, label, hint }) => (
          <Check
            key={field}
            label={label}
            hint={hint}
            checked={draft[field] ?? false}
            onChange={(event) => setDraft({ ...draft, [field]: event.target.checked })}
          />
        ))}
      </fieldset>
      <Field label="Oldest OpenSSH that is not old" error={wrong} className="max-w-48">
        <Input
          figures
          value={draft.ssh_version_threshold ?? ""}
          disabled={!draft.ssh_outdated_version}
          onChange={(event) => setDraft({ ...draft, ssh_version_threshold: event.target.value })}
        />
      </Field>
      {save.error && !wrong && (
        <p role="alert" className="text-critical foreign">
          {errorText(save.error)}
        </p>
      )}
      <div>
        <Button kind="primary" type="submit" busy={save.isPending}>
          Save
        </Button>
      </div>
    </form>
  );
}

const tlsFindings: readonly {
  field: Exclude<keyof TlsAlertDefaults, "tls_expiring_days">;
  label: string;
  hint: string;
}[] = [
  {
    field: "tls_expired",
    label: "A certificate has run out",
    hint: "Told once for each certificate, wherever it is shown; over when it is replaced.",
  },
  {
    field: "tls_weak",
    label: "TLS is weak",
    hint: "A server takes SSL or TLS before 1.2, or its certificate's key or signature is weak.",
  },
  {
    field: "tls_expiring",
    label: "A certificate runs out soon",
    hint: "Told at each of the days below, also between scans.",
  },
];

function TlsAlerts({ saved }: { saved: TlsAlertDefaults }) {
  const queries = useQueryClient();
  const [draft, setDraft] = useState(saved);
  const [days, setDays] = useState((saved.tls_expiring_days ?? []).join(", "));
  const save = useMutation({
    mutationFn: () =>
      call(
        client.PUT("/api/settings/tls-alert-defaults", {
          body: {
            ...draft,
            tls_expiring_days: days
              .split(/[\s,]+/)
              .filter(Boolean)
              .map(Number),
          },
        }),
      ),
    onSuccess: (now) => {
      queries.setQueryData(tlsAlertDefaultsQuery.queryKey, now);
      setDraft(now);
      setDays((now.tls_expiring_days ?? []).join(", "));
      toast("Saved. It counts from the next scan on.");
    },
  });
  const wrong = fieldError(save.error, "tls_expiring_days");
  return (
    <form
      className="flex max-w-prose flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <fieldset className="flex flex-col gap-3">
        <legend className="mb-3 text-ink-2">An alert is raised when</legend>
        {tlsFindings.map(({ field, label, hint }) => (
          <Check
            key={field}
            label={label}
            hint={hint}
            checked={draft[field] ?? false}
            onChange={(event) => setDraft({ ...draft, [field]: event.target.checked })}
          />
        ))}
      </fieldset>
      <Field
        label="Days before a certificate's end"
        error={wrong}
        hint="One to ten numbers from 1 to 365: 30, 7, 1."
        className="max-w-64"
      >
        <Input
          figures
          value={days}
          disabled={!draft.tls_expiring}
          onChange={(event) => setDays(event.target.value)}
        />
      </Field>
      {save.error && !wrong && (
        <p role="alert" className="text-critical foreign">
          {errorText(save.error)}
        </p>
      )}
      <div>
        <Button kind="primary" type="submit" busy={save.isPending}>
          Save the TLS alerts
        </Button>
      </div>
    </form>
  );
}
