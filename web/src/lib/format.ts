/** How numbers, times and addresses are written. Pure: the present moment is an argument. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Reads an RFC 3339 time; a time without a zone is UTC, as the older API wrote it. */
export function parseTime(text: string): Date {
  return new Date(/(?:Z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`);
}

/** "12 s ago", "in 3 min", "yesterday" is never used: figures compare better. */
export function relativeTime(time: Date, now: Date): string {
  const seconds = Math.round((now.getTime() - time.getTime()) / 1000);
  const text = span(Math.abs(seconds));
  if (Math.abs(seconds) < 5) return "just now";
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function span(seconds: number): string {
  if (seconds < MINUTE) return `${seconds} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)} h`;
  if (seconds < 60 * DAY) return `${Math.floor(seconds / DAY)} days`;
  return `${Math.floor(seconds / (30 * DAY))} months`;
}

/** Local date and time down to the second, in an order that sorts. */
export function absoluteTime(time: Date): string {
  return `${calendarDate(time)} ${clockTime(time)}`;
}

/** Local date as 2026-11-21. */
export function calendarDate(time: Date): string {
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

/** Local time of day as 09:05:03. */
export function clockTime(time: Date): string {
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** A length of time with its two largest units: "1 h 3 min", "12.4 s", "850 ms". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < MINUTE) return `${Math.round(seconds)} s`;
  const units: [number, string][] = [
    [365 * DAY, "years"],
    [DAY, "d"],
    [HOUR, "h"],
    [MINUTE, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first] ?? [1, "s"];
  const whole = Math.floor(seconds / size);
  const [nextSize, nextName] = units[first + 1] ?? [1, ""];
  const rest = Math.floor((seconds - whole * size) / nextSize);
  return rest > 0 && nextName ? `${count(whole)} ${name} ${rest} ${nextName}` : `${count(whole)} ${name}`;
}

/** A whole number with thin spaces between groups of three. */
export function count(value: number | bigint): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A rate or amount in three figures: 950, 12.3 k, 4.1 M. */
export function compact(value: number): string {
  const steps: [number, string][] = [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ];
  for (const [size, unit] of steps) {
    if (value >= size) {
      const divisor = unit === "k" ? 1e3 : size;
      const scaled = value / divisor;
      return `${scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${unit}`;
    }
  }
  return count(Math.round(value));
}

/** "1 port", "2 ports". */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Address and port as one would type them; IPv6 in brackets. */
export function endpoint(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** A fraction 0-1 as a percentage with as many places as it needs. */
export function percent(fraction: number): string {
  const value = fraction * 100;
  if (value === 0) return "0 %";
  if (value < 0.01) return "< 0.01 %";
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Words of an identifier such as `ssh_weak_kex`. */
export function words(identifier: string): string {
  const known: Record<string, string> = {
    ssh: "SSH",
    tls: "TLS",
    kex: "key exchange",
    ip: "IP",
    api: "API",
    http: "HTTP",
    os: "OS",
  };
  const text = identifier
    .split(/[_\-.]/)
    .map((word) => known[word] ?? word)
    .join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
