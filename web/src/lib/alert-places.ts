/** What a network's first scan found, where an alert stands for all of it. */
export function firstScanOf(detail: unknown): { ports: number; hosts: number } | null {
  const { first_scan } = (detail ?? {}) as { first_scan?: { ports?: unknown; hosts?: unknown } | null };
  const { ports, hosts } = first_scan ?? {};
  return typeof ports === "number" && typeof hosts === "number" ? { ports, hosts } : null;
}

/** The places that an alert's detail lists, and how many more there are. */
export function placesOf(detail: unknown): { places: string[]; more: number } {
  const { places, place_count } = (detail ?? {}) as { places?: unknown; place_count?: unknown };
  const listed = Array.isArray(places) ? places.filter((place) => typeof place === "string") : [];
  const total = typeof place_count === "number" ? place_count : listed.length;
  return { places: listed, more: Math.max(0, total - listed.length) };
}
