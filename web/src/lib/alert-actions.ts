import { useMutation, useQueryClient } from "@tanstack/react-query";
import { call, client } from "@/api/client";
import { errorText } from "@/api/error";
import type { ResolutionStatus } from "@/api/types";
import { toast } from "@/ui/toast";

const one = (id: number) => ({ params: { path: { alert_id: id } } });

export const acknowledge = ({ ids }: { ids: number[] }) =>
  call(client.PUT("/api/alerts/acknowledge-bulk", { body: ids }));

export const unacknowledge = ({ id }: { id: number }) =>
  call(client.PUT("/api/alerts/{alert_id}/unacknowledge", one(id)));

export const assign = ({ id, user_id }: { id: number; user_id: number | null }) =>
  call(client.PATCH("/api/alerts/{alert_id}/assign", { ...one(id), body: { user_id } }));

export const setStatus = ({ id, status }: { id: number; status: ResolutionStatus }) =>
  call(client.PATCH("/api/alerts/{alert_id}/status", { ...one(id), body: { resolution_status: status } }));

export const snooze = ({ id, until }: { id: number; until: string | null }) =>
  call(client.PUT("/api/alerts/{alert_id}/snooze", { ...one(id), body: { until } }));

export const comment = ({ id, text }: { id: number; text: string }) =>
  call(client.POST("/api/alerts/{alert_id}/comments", { ...one(id), body: { comment: text } }));

/** Runs one of the above and refreshes what shows alerts. */
export function useAlertAction<V, R>(action: (variables: V) => Promise<R>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: action,
    onSuccess: () => {
      for (const key of ["alerts", "dashboard", "host"]) void queries.invalidateQueries({ queryKey: [key] });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
}
