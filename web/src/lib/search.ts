/**
 * Filters live in the URL. A page says which parameters it knows; what is absent, unknown or not valid
 * is left out, so that a link never breaks and never carries defaults.
 */

type Raw = Record<string, unknown>;
export type Codec<T> = (raw: unknown) => T | undefined;
type Shape = Record<string, Codec<unknown>>;

export type SearchOf<S extends Shape> = {
  [K in keyof S]?: S[K] extends Codec<infer T> ? T : never;
};

/** Any text of at most 200 characters. */
export const text: Codec<string> = (raw) => {
  if (typeof raw !== "string" && typeof raw !== "number") return undefined;
  const value = String(raw).trim().slice(0, 200);
  return value === "" ? undefined : value;
};

/** A whole number between two bounds, both included. */
export const int =
  (low = 1, high = Number.MAX_SAFE_INTEGER): Codec<number> =>
  (raw) => {
    const value = typeof raw === "number" ? raw : /^\d{1,16}$/.test(String(raw)) ? Number(raw) : Number.NaN;
    return Number.isSafeInteger(value) && value >= low && value <= high ? value : undefined;
  };

/** One of the given words. */
export const oneOf =
  <const T extends string>(...values: T[]): Codec<T> =>
  (raw) =>
    values.find((value) => value === raw);

/** True or false. */
export const flag: Codec<boolean> = (raw) => {
  if (raw === true || raw === "true" || raw === "1") return true;
  if (raw === false || raw === "false" || raw === "0") return false;
  return undefined;
};

/** A port or a range of ports: `443`, `8000-8100`. */
export const portRange: Codec<string> = (raw) => {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(raw ?? "").trim());
  if (!match) return undefined;
  const low = Number(match[1]);
  const high = Number(match[2] ?? match[1]);
  if (low < 1 || high > 65535 || low > high) return undefined;
  return low === high ? String(low) : `${low}-${high}`;
};

/** The two ends of what `portRange` lets through. */
export function portBounds(range: string | undefined): { port_min?: number; port_max?: number } {
  if (range === undefined) return {};
  const [low, high] = range.split("-");
  return { port_min: Number(low), port_max: Number(high ?? low) };
}

/** Makes the validator of a route's search parameters. */
export function searchSchema<S extends Shape>(shape: S): (raw: Raw) => SearchOf<S> {
  return (raw) => {
    const found: Raw = {};
    for (const [name, codec] of Object.entries(shape)) {
      const value = codec(raw[name]);
      if (value !== undefined) found[name] = value;
    }
    return found as SearchOf<S>;
  };
}

/** `?a=1&b=x` to an object of texts; of a repeated parameter the last one counts. */
export function parseSearch(search: string): Raw {
  return Object.fromEntries(new URLSearchParams(search));
}

/** An object back to `?a=1&b=x`, in the order given; absent values are left out. */
export function stringifySearch(search: Raw): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) {
    if (value !== undefined && value !== null && value !== "") parameters.set(name, String(value));
  }
  const query = parameters.toString();
  return query === "" ? "" : `?${query}`;
}
