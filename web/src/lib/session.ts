import { useQuery } from "@tanstack/react-query";
import { meQuery } from "@/api/queries";
import type { Role } from "@/api/types";

const ORDER: readonly Role[] = ["viewer", "analyst", "operator", "admin"];

/** Whether a role includes what another one may do. */
export function includes(role: Role | undefined, needed: Role): boolean {
  return role !== undefined && ORDER.indexOf(role) >= ORDER.indexOf(needed);
}

/** Whether the signed-in user may do what this role may do. */
export function useCan(needed: Role): boolean {
  return includes(useQuery(meQuery).data?.role, needed);
}
