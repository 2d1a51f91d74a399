/** Port specifications and addresses, as far as the pages need them for previews; the server decides. */

/** How many addresses a CIDR block or single address covers, or null where it cannot be read. */
export function addressCount(cidr: string): bigint | null {
  const [address = "", prefixText, extra] = cidr.trim().split("/");
  if (extra !== undefined) return null;
  const bits = isIpv4(address) ? 32 : isIpv6(address) ? 128 : null;
  if (bits === null) return null;
  if (prefixText === undefined) return 1n;
  if (!/^\d{1,3}$/.test(prefixText)) return null;
  const prefix = Number(prefixText);
  return prefix <= bits ? 1n << BigInt(bits - prefix) : null;
}

/** Whether the text is an IPv4 address in dotted decimals. */
export function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Whether the text is an IPv6 address (RFC 4291 2.2). */
export function isIpv6(text: string): boolean {
  if (!/^[0-9a-f:.]+$/i.test(text) || text.split("::").length > 2 || text.includes(":::")) return false;
  const compressed = text.includes("::");
  const [head = "", tail = ""] = text.split("::");
  const groups = [...head.split(":"), ...tail.split(":")].filter((group) => group !== "");
  const last = groups.at(-1);
  const embedded = last?.includes(".") ?? false;
  if (embedded && !isIpv4(last ?? "")) return false;
  const plain = embedded ? groups.slice(0, -1) : groups;
  if (!plain.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return false;
  if (!compressed && /^:|:$/.test(text)) return false;
  const size = plain.length + (embedded ? 2 : 0);
  return compressed ? size < 8 : size === 8;
}

export interface PortCount {
  tcp: number;
  udp: number;
}

type Ranges = { tcp: [number, number][]; udp: [number, number][]; not: [number, number][] };

/**
 * Counts the ports of a specification such as `22,80,8000-8100,U:53,!25`.
 * Ports without a prefix are TCP, UDP or both, as `protocol` says. Returns a sentence where it cannot be read.
 */
export function countPorts(spec: string, protocol: "tcp" | "udp" | "both" = "tcp"): PortCount | string {
  const ranges = readSpec(spec, protocol);
  if (typeof ranges === "string") return ranges;
  return { tcp: coverage(ranges.tcp, ranges.not), udp: coverage(ranges.udp, ranges.not) };
}

function readSpec(spec: string, protocol: "tcp" | "udp" | "both"): Ranges | string {
  if (spec.trim() === "") return "Write at least one port, as 22 or 1-1024.";
  const ranges: Ranges = { tcp: [], udp: [], not: [] };
  for (const raw of spec.split(",")) {
    const segment = raw.trim();
    if (segment === "") return "There is an empty place between two commas.";
    const match = /^(!)?(?:([TU]):)?(\d{1,6})(?:-(\d{1,6}))?$/i.exec(segment);
    if (!match) return `“${segment}” is not a port or a range such as 8000-8100.`;
    const low = Number(match[3]);
    const high = Number(match[4] ?? match[3]);
    if (low < 1 || high > 65535) return `“${segment}” is outside 1-65535.`;
    if (low > high) return `“${segment}” starts after it ends.`;
    if (match[1]) ranges.not.push([low, high]);
    else {
      const kind = match[2]?.toUpperCase();
      if (kind !== "U" && (kind === "T" || protocol !== "udp")) ranges.tcp.push([low, high]);
      if (kind === "U" || (!kind && protocol !== "tcp")) ranges.udp.push([low, high]);
    }
  }
  if (ranges.tcp.length === 0 && ranges.udp.length === 0) {
    if (protocol !== "udp") ranges.tcp.push([1, 65535]);
    if (protocol !== "tcp") ranges.udp.push([1, 65535]);
  }
  return ranges;
}

function coverage(include: [number, number][], exclude: [number, number][]): number {
  const covered = new Uint8Array(65536);
  for (const [low, high] of include) covered.fill(1, low, high + 1);
  for (const [low, high] of exclude) covered.fill(0, low, high + 1);
  return covered.reduce((sum, one) => sum + one, 0);
}

/** Seconds that a scan needs to send everything once, and how many probes that is. */
export function estimate(
  cidr: string,
  spec: string,
  protocol: "tcp" | "udp" | "both",
  rate: number,
): { probes: bigint; seconds: number } | null {
  const addresses = addressCount(cidr);
  const ports = countPorts(spec, protocol);
  if (addresses === null || typeof ports === "string" || !(rate > 0)) return null;
  const probes = addresses * BigInt(ports.tcp + ports.udp);
  return { probes, seconds: Number(probes) / rate };
}

/** Sorts addresses as numbers, IPv4 before IPv6. */
export function compareAddresses(a: string, b: string): number {
  const left = addressKey(a);
  const right = addressKey(b);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** A text whose order is the order of the addresses. */
export function addressKey(address: string): string {
  if (isIpv4(address)) {
    return `4${address
      .split(".")
      .map((part) => part.padStart(3, "0"))
      .join("")}`;
  }
  const [head = "", tail = ""] = address.toLowerCase().split("::");
  const left = head.split(":").filter(Boolean);
  const right = tail.split(":").filter(Boolean);
  const missing = address.includes("::") ? Math.max(0, 8 - left.length - right.length) : 0;
  const groups = [...left, ...Array<string>(missing).fill("0"), ...right];
  return `6${groups.map((group) => group.padStart(4, "0")).join("")}`;
}

/** Whether a block or an address lies in the loopback range of the machine that scans it. */
export function isLoopback(cidr: string): boolean {
  return /^127(\.\d{1,3}){3}(\/\d+)?$/.test(cidr.trim()) || /^::1(\/128)?$/.test(cidr.trim());
}
