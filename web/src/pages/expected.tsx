import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, client } from "@/api/client";
import { errorText } from "@/api/error";
import { alertsQuery } from "@/api/queries";
import type { Alert } from "@/api/types";
import { plural } from "@/lib/format";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Choice, Field, Input } from "@/ui/field";
import { Tag } from "@/ui/marks";
import { toast } from "@/ui/toast";

/** The distinct places that the rules will name. */
export function rulesFor(
  alerts: readonly Pick<Alert, "ip" | "port" | "network_id" | "network_name">[],
  scope: "network" | "global",
): { key: string; where: string; ip: string; port: number }[] {
  const rules = new Map<string, { key: string; where: string; ip: string; port: number }>();
  for (const { ip, port, network_id, network_name } of alerts) {
    if (ip == null || port == null) continue;
    const where = scope === "global" ? "all networks" : (network_name ?? "its network");
    const key = `${scope === "network" ? network_id : ""} ${ip} ${port}`;
    rules.set(key, { key, where, ip, port });
  }
  return [...rules.values()];
}

/** "Expected": shows the rules that will be written and how many open alerts they close, then does it. */
export function Expected({ alerts, onClose }: { alerts: readonly Alert[]; onClose: () => void }) {
  const queries = useQueryClient();
  const allInNetworks = alerts.every((alert) => alert.network_id != null);
  const [scope, setScope] = useState<"network" | "global">(allInNetworks ? "network" : "global");
  const [reason, setReason] = useState("");
  const rules = rulesFor(alerts, scope);
  const { data: open } = useQuery(alertsQuery({ acknowledged: false, limit: 200 }));
  const covered = (open?.alerts ?? []).filter(
    (alert) =>
      rules.some((rule) => rule.ip === alert.ip && rule.port === alert.port) &&
      (scope === "global" || alerts.some((each) => each.network_id === alert.network_id)),
  );
  const ids = [...new Set([...alerts, ...covered].map((alert) => alert.id))];

  const write = useMutation({
    mutationFn: () => {
      const body = { alert_ids: ids, reason: reason.trim() };
      return scope === "global"
        ? call(client.POST("/api/alerts/bulk-whitelist-global", { body }))
        : call(client.POST("/api/alerts/bulk-whitelist-network", { body }));
    },
    onSuccess: (result) => {
      for (const key of ["alerts", "dashboard", "policy", "networks", "host"]) {
        void queries.invalidateQueries({ queryKey: [key] });
      }
      toast(
        `${plural(result.whitelisted_count, "rule")} written, ${plural(result.acknowledged_ids.length, "alert")} closed.`,
      );
      for (const problem of result.errors ?? []) toast(problem, { tone: "bad" });
      onClose();
    },
  });

  return (
    <Dialog
      title="Expected: write the rule for me"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form="expected" busy={write.isPending}>
            Write {plural(rules.length, "rule")}, close {plural(ids.length, "alert")}
          </Button>
        </>
      }
    >
      <form
        id="expected"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          write.mutate();
        }}
      >
        <Choice
          label="Where the rule holds"
          value={scope}
          onChange={setScope}
          options={[
            ...(allInNetworks ? [{ value: "network" as const, label: "In its network" }] : []),
            { value: "global" as const, label: "In all networks" },
          ]}
        />
        <ul className="max-h-52 overflow-y-auto rounded-md border border-line">
          {rules.map((rule) => (
            <li
              key={rule.key}
              className="flex flex-wrap items-center gap-x-2.5 border-b border-line/70 px-3 py-1.5 last:border-0"
            >
              <Tag tone="good">allow</Tag>
              <span className="figures foreign">
                {rule.ip} : {rule.port}
              </span>
              <span className="text-ink-2 foreign">in {rule.where}</span>
            </li>
          ))}
        </ul>
        <Field label="Why is this expected?" required hint="Kept with the rule, for whoever asks later.">
          <Input value={reason} maxLength={1000} onChange={(event) => setReason(event.target.value)} />
        </Field>
        {write.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(write.error)}
          </p>
        )}
      </form>
    </Dialog>
  );
}
