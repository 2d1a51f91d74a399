import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { call, client } from "./client";
import { ApiError } from "./error";
import type { paths } from "./schema";
import type { PortEvent, ScanEvent } from "./live";

type Query<P extends keyof paths> = paths[P] extends { get: { parameters: { query?: infer Q } } } ? Q : never;

/** The signed-in user, or null. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: async () => {
    try {
      return await call(client.GET("/api/auth/me"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: 5 * 60_000,
});

export const setupQuery = queryOptions({
  queryKey: ["setup"],
  queryFn: () => call(client.GET("/api/setup")),
});

export const versionQuery = queryOptions({
  queryKey: ["version"],
  queryFn: () => call(client.GET("/api/version")),
  staleTime: Number.POSITIVE_INFINITY,
});

export const dashboardQuery = queryOptions({
  queryKey: ["dashboard"],
  queryFn: () => call(client.GET("/api/dashboard")),
});

export const networksQuery = queryOptions({
  queryKey: ["networks"],
  queryFn: async () => (await call(client.GET("/api/networks"))).networks,
});

export const networkQuery = (id: number) =>
  queryOptions({
    queryKey: ["networks", id],
    queryFn: () => call(client.GET("/api/networks/{network_id}", { params: { path: { network_id: id } } })),
  });

export const networkRulesQuery = (id: number) =>
  queryOptions({
    queryKey: ["networks", id, "rules"],
    queryFn: async () =>
      (await call(client.GET("/api/networks/{network_id}/rules", { params: { path: { network_id: id } } })))
        .rules,
  });

export const discoveryScansQuery = (id: number) =>
  queryOptions({
    queryKey: ["scans", "discovery", id],
    queryFn: async () =>
      (
        await call(
          client.GET("/api/networks/{network_id}/host-discovery-scans", {
            params: { path: { network_id: id }, query: { limit: 5 } },
          }),
        )
      ).scans,
  });

export const agentsQuery = queryOptions({
  queryKey: ["agents"],
  queryFn: async () => (await call(client.GET("/api/scanners"))).scanners,
});

export const scansQuery = (query: Query<"/api/scans">) =>
  queryOptions({
    queryKey: ["scans", query],
    queryFn: () => call(client.GET("/api/scans", { params: { query } })),
    placeholderData: keepPreviousData,
  });

export const latestScansQuery = queryOptions({
  queryKey: ["scans", "latest"],
  queryFn: async () => (await call(client.GET("/api/scans/latest-by-network"))).latest_scans,
});

export const scanQuery = (id: number) =>
  queryOptions({
    queryKey: ["scan", id],
    queryFn: () => call(client.GET("/api/scans/{scan_id}", { params: { path: { scan_id: id } } })),
  });

export const scanLogsQuery = (id: number, limit = 200) =>
  queryOptions({
    queryKey: ["scan", id, "logs", limit],
    queryFn: () =>
      call(client.GET("/api/scans/{scan_id}/logs", { params: { path: { scan_id: id }, query: { limit } } })),
  });

export const scanDiffQuery = (id: number, compareTo: number) =>
  queryOptions({
    queryKey: ["scan", id, "diff", compareTo],
    queryFn: () =>
      call(
        client.GET("/api/scans/{scan_id}/diff", {
          params: { path: { scan_id: id }, query: { compare_to: compareTo } },
        }),
      ),
  });

/** Filled by live events only. */
export const scanLiveQuery = (id: number) =>
  queryOptions({
    queryKey: ["scan-live", id],
    queryFn: (): ScanEvent | null => null,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: Number.POSITIVE_INFINITY,
  });

/** Filled by live events only. */
export const scanLivePortsQuery = (id: number) =>
  queryOptions({
    queryKey: ["scan-live-ports", id],
    queryFn: (): PortEvent[] => [],
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 30 * 60_000,
  });

export const hostQuery = (id: number) =>
  queryOptions({
    queryKey: ["host", id],
    queryFn: () => call(client.GET("/api/hosts/{host_id}/overview", { params: { path: { host_id: id } } })),
  });

/** A port with the whole finding about its service. */
export const portQuery = (id: number) =>
  queryOptions({
    queryKey: ["ports", "one", id],
    queryFn: () => call(client.GET("/api/ports/{port_id}", { params: { path: { port_id: id } } })),
  });

export const changesQuery = (query: Query<"/api/changes">) =>
  queryOptions({
    queryKey: ["changes", query],
    queryFn: () => call(client.GET("/api/changes", { params: { query } })),
    placeholderData: keepPreviousData,
  });

/** All changes that fit, page by page. */
export const changeFeedQuery = (query: Query<"/api/changes">) =>
  infiniteQueryOptions({
    queryKey: ["changes", "feed", query],
    queryFn: ({ pageParam }) =>
      call(
        client.GET("/api/changes", {
          params: { query: { ...query, ...(pageParam && { cursor: pageParam }) } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor,
    placeholderData: keepPreviousData,
  });

export const alertsQuery = (query: Query<"/api/alerts">) =>
  queryOptions({
    queryKey: ["alerts", query],
    queryFn: () => call(client.GET("/api/alerts", { params: { query } })),
    placeholderData: keepPreviousData,
  });

export const policyQuery = (networkId?: number) =>
  queryOptions({
    queryKey: ["policy", networkId ?? null],
    queryFn: async () =>
      (
        await call(
          client.GET("/api/policy", { params: { query: networkId ? { network_id: networkId } : {} } }),
        )
      ).rules,
  });

export const sshAlertDefaultsQuery = queryOptions({
  queryKey: ["settings", "ssh-alert-defaults"],
  queryFn: () => call(client.GET("/api/settings/ssh-alert-defaults")),
});

export const tlsAlertDefaultsQuery = queryOptions({
  queryKey: ["settings", "tls-alert-defaults"],
  queryFn: () => call(client.GET("/api/settings/tls-alert-defaults")),
});

export const usersQuery = queryOptions({
  queryKey: ["users"],
  queryFn: async () => (await call(client.GET("/api/users"))).users,
});

export const sessionsQuery = queryOptions({
  queryKey: ["sessions"],
  queryFn: async () => (await call(client.GET("/api/auth/sessions"))).sessions,
});

export const apiKeysQuery = queryOptions({
  queryKey: ["api-keys"],
  queryFn: () => call(client.GET("/api/api-keys")),
});

/** An alert with its history and comments. */
export const alertQuery = (id: number) =>
  queryOptions({
    queryKey: ["alerts", "one", id],
    queryFn: () => call(client.GET("/api/alerts/{alert_id}", { params: { path: { alert_id: id } } })),
  });

export const schedulePreviewQuery = (schedule: string, timeZone: string) =>
  queryOptions({
    queryKey: ["schedule", schedule, timeZone],
    queryFn: () =>
      call(
        client.GET("/api/schedule/preview", {
          params: { query: { expression: schedule, time_zone: timeZone, count: 4 } },
        }),
      ),
    enabled: schedule.trim() !== "",
    retry: false,
    placeholderData: keepPreviousData,
  });
