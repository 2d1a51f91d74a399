import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { meQuery, setupQuery } from "./api/queries";
import {
  alertsFilter,
  auditFilter,
  changesFilter,
  hostsFilter,
  loginFilter,
  networksFilter,
  policyFilter,
  portsFilter,
  scanFilter,
  scansFilter,
  searchSchema,
  setupFilter,
} from "./filters";
import { parseSearch, stringifySearch } from "./lib/search";
import { Broken, Missing, Waiting } from "./shell/fallbacks";
import { Shell } from "./shell/shell";

declare module "@tanstack/react-router" {
  interface StaticDataRouteOption {
    /** The pages above this one, for the breadcrumb. */
    above?: readonly { to?: string; label: string }[];
  }
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  component: Outlet,
  notFoundComponent: Missing,
});

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  validateSearch: searchSchema(setupFilter),
  component: lazyRouteComponent(() => import("./pages/setup"), "SetupPage"),
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: searchSchema(loginFilter),
  component: lazyRouteComponent(() => import("./pages/login"), "LoginPage"),
});

/** Every page below asks who is there first: nobody goes to sign in, or to set-up while there are no users. */
const app = createRoute({
  getParentRoute: () => root,
  id: "app",
  component: Shell,
  beforeLoad: async ({ context, location }) => {
    const me = await context.queries.ensureQueryData(meQuery);
    if (me) return;
    const state = await context.queries.ensureQueryData(setupQuery).catch(() => null);
    if (state?.required) throw redirect({ to: "/setup" });
    const next = location.href === "/" ? undefined : location.href;
    throw redirect({ to: "/login", search: { next } });
  },
});

const page = { getParentRoute: () => app } as const;

const dashboard = createRoute({
  ...page,
  path: "/",
  staticData: { above: [{ label: "Watch" }] },
  component: lazyRouteComponent(() => import("./pages/dashboard"), "DashboardPage"),
});

const alerts = createRoute({
  ...page,
  path: "/alerts",
  staticData: { above: [{ label: "Watch" }] },
  validateSearch: searchSchema(alertsFilter),
  component: lazyRouteComponent(() => import("./pages/alerts"), "AlertsPage"),
});

const changes = createRoute({
  ...page,
  path: "/changes",
  staticData: { above: [{ label: "Watch" }] },
  validateSearch: searchSchema(changesFilter),
  component: lazyRouteComponent(() => import("./pages/changes"), "ChangesPage"),
});

const networks = createRoute({
  ...page,
  path: "/networks",
  staticData: { above: [{ label: "Inventory" }] },
  validateSearch: searchSchema(networksFilter),
  component: lazyRouteComponent(() => import("./pages/networks"), "NetworksPage"),
});

const network = createRoute({
  ...page,
  path: "/networks/$networkId",
  staticData: { above: [{ label: "Inventory" }, { to: "/networks", label: "Networks" }] },
  component: lazyRouteComponent(() => import("./pages/network"), "NetworkPage"),
});

const hosts = createRoute({
  ...page,
  path: "/hosts",
  staticData: { above: [{ label: "Inventory" }] },
  validateSearch: searchSchema(hostsFilter),
  component: lazyRouteComponent(() => import("./pages/hosts"), "HostsPage"),
});

const host = createRoute({
  ...page,
  path: "/hosts/$hostId",
  staticData: { above: [{ label: "Inventory" }, { to: "/hosts", label: "Hosts" }] },
  component: lazyRouteComponent(() => import("./pages/host"), "HostPage"),
});

const ports = createRoute({
  ...page,
  path: "/ports",
  staticData: { above: [{ label: "Inventory" }] },
  validateSearch: searchSchema(portsFilter),
  component: lazyRouteComponent(() => import("./pages/ports"), "PortsPage"),
});

const scans = createRoute({
  ...page,
  path: "/scans",
  staticData: { above: [{ label: "Inventory" }] },
  validateSearch: searchSchema(scansFilter),
  component: lazyRouteComponent(() => import("./pages/scans"), "ScansPage"),
});

const scan = createRoute({
  ...page,
  path: "/scans/$scanId",
  staticData: { above: [{ label: "Inventory" }, { to: "/scans", label: "Scans" }] },
  validateSearch: searchSchema(scanFilter),
  component: lazyRouteComponent(() => import("./pages/scan"), "ScanPage"),
});

const policy = createRoute({
  ...page,
  path: "/policy",
  staticData: { above: [{ label: "Manage" }] },
  validateSearch: searchSchema(policyFilter),
  component: lazyRouteComponent(() => import("./pages/policy"), "PolicyPage"),
});

const agents = createRoute({
  ...page,
  path: "/agents",
  staticData: { above: [{ label: "Manage" }] },
  component: lazyRouteComponent(() => import("./pages/agents"), "AgentsPage"),
});

const users = createRoute({
  ...page,
  path: "/users",
  staticData: { above: [{ label: "Manage" }] },
  component: lazyRouteComponent(() => import("./pages/users"), "UsersPage"),
});

const audit = createRoute({
  ...page,
  path: "/audit",
  staticData: { above: [{ label: "Manage" }] },
  validateSearch: searchSchema(auditFilter),
  component: lazyRouteComponent(() => import("./pages/audit"), "AuditPage"),
});

const settings = createRoute({
  ...page,
  path: "/settings",
  staticData: { above: [{ label: "Manage" }] },
  component: lazyRouteComponent(() => import("./pages/settings"), "SettingsPage"),
});

const account = createRoute({
  ...page,
  path: "/account",
  staticData: { above: [{ label: "Manage" }] },
  component: lazyRouteComponent(() => import("./pages/account"), "AccountPage"),
});

const tree = root.addChildren([
  setup,
  login,
  app.addChildren([
    dashboard,
    alerts,
    changes,
    networks,
    network,
    hosts,
    host,
    ports,
    scans,
    scan,
    policy,
    agents,
    users,
    audit,
    settings,
    account,
  ]),
]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree,
    context: { queries },
    parseSearch,
    stringifySearch,
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    defaultPendingMs: 150,
    defaultPendingComponent: Waiting,
    defaultErrorComponent: Broken,
    scrollRestoration: true,
  });
}
