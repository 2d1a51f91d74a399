import {
  Activity,
  BellRing,
  BookOpen,
  CircleUser,
  Gauge,
  type LucideIcon,
  Network,
  Radar,
  RadioTower,
  ScrollText,
  Server,
  ShieldCheck,
  SlidersHorizontal,
  Unplug,
  Users,
} from "lucide-react";
import type { Role } from "@/api/types";

export interface Place {
  to: string;
  label: string;
  icon: LucideIcon;
  keys?: string;
  role?: Role;
  external?: boolean;
}

/** Where one can go, in the order of the navigation. */
export const places: readonly { label: string; items: readonly Place[] }[] = [
  {
    label: "Watch",
    items: [
      { to: "/", label: "Dashboard", icon: Gauge, keys: "g d" },
      { to: "/alerts", label: "Alerts", icon: BellRing, keys: "g a" },
      { to: "/changes", label: "Changes", icon: Activity, keys: "g c" },
    ],
  },
  {
    label: "Inventory",
    items: [
      { to: "/networks", label: "Networks", icon: Network, keys: "g n" },
      { to: "/hosts", label: "Hosts", icon: Server, keys: "g h" },
      { to: "/ports", label: "Open ports", icon: Unplug, keys: "g p" },
      { to: "/scans", label: "Scans", icon: Radar, keys: "g s" },
    ],
  },
  {
    label: "Manage",
    items: [
      { to: "/policy", label: "Policy", icon: ShieldCheck, keys: "g r" },
      { to: "/agents", label: "Agents", icon: RadioTower, keys: "g e" },
      { to: "/users", label: "Users", icon: Users, keys: "g u", role: "admin" },
      { to: "/audit", label: "Audit log", icon: ScrollText, keys: "g l", role: "admin" },
      { to: "/settings", label: "Settings", icon: SlidersHorizontal, keys: "g t", role: "admin" },
      { to: "/account", label: "Account", icon: CircleUser, keys: "g m" },
      { to: "/api/docs", label: "API", icon: BookOpen, external: true },
    ],
  },
];

/** The four that fit at the bottom of a small screen. */
export const mainPlaces: readonly Place[] = ["/", "/alerts", "/hosts", "/scans"]
  .flatMap((to) => places.flatMap((group) => group.items.find((item) => item.to === to)) as Place[])
  .filter(Boolean);
