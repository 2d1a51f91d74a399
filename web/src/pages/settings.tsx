import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { sshAlertDefaultsQuery } from "@/api/queries";
import type { SshAlertDefaults } from "@/api/types";
import { Button } from "@/ui/button";
import { Check, Field, Input } from "@/ui/field";
import { Page, Section } from "@/ui/page";
import { Loaded } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Values that count for the whole installation. */
export function SettingsPage() {
  const defaults = useQuery(sshAlertDefaultsQuery);
  return (
    <Page title="Settings" lead="What counts for all networks.">
      <Section title="SSH alerts" note="where a network has no alert settings of its own">
        <Loaded query={defaults} what="The settings" rows={5}>
          {(data) => <SshAlerts saved={data} />}
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
