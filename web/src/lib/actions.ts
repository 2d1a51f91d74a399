import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { call, client } from "@/api/client";
import { errorText } from "@/api/error";
import { toast } from "@/ui/toast";

/** Starts a scan of a network and shows it. */
export function useStartScan() {
  const queries = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: (networkId: number) =>
      call(client.POST("/api/networks/{network_id}/scan", { params: { path: { network_id: networkId } } })),
    onSuccess: (scan) => {
      void queries.invalidateQueries({ queryKey: ["scans"] });
      void navigate({ to: "/scans/$scanId", params: { scanId: String(scan.scan_id) } });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
}

/** Cancels a scan. */
export function useCancelScan() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (scanId: number) =>
      call(client.POST("/api/scans/{scan_id}/cancel", { params: { path: { scan_id: scanId } } })),
    onSuccess: (_, scanId) => {
      toast("The scan is cancelled. What it found is kept.");
      void queries.invalidateQueries({ queryKey: ["scans"] });
      void queries.invalidateQueries({ queryKey: ["scan", scanId] });
    },
    onError: (error) => toast(errorText(error), { tone: "bad" }),
  });
}
