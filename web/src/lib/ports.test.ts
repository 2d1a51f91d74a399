import { describe, expect, it } from "vitest";
import { addressCount, compareAddresses, countPorts, estimate, isIpv4, isIpv6, isLoopback } from "./ports";

describe("addresses", () => {
  it.each([
    ["192.0.2.0/24", 256n],
    ["192.0.2.77", 1n],
    ["fd00::/120", 256n],
    ["::/0", 2n ** 128n],
    ["192.0.2.0/33", null],
    ["192.0.2/24", null],
    ["192.0.2.0/24/1", null],
    ["example.org", null],
    ["", null],
  ])("%s covers %s", (cidr, size) => {
    expect(addressCount(cidr)).toBe(size);
  });

  it("tells the families apart", () => {
    expect(isIpv4("10.0.0.256")).toBe(false);
    expect(isIpv4("010.0.0.1")).toBe(false);
    for (const address of ["::", "::1", "fd99::1", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1"]) {
      expect(isIpv6(address), address).toBe(true);
    }
    for (const address of [
      "1:2:3:4:5:6:7",
      ":::",
      "1::2::3",
      "12345::",
      "1:2:3:4:5:6:7:8:9",
      "::ffff:192.0.2.256",
    ]) {
      expect(isIpv6(address), address).toBe(false);
    }
  });

  it("sorts as numbers, IPv4 first", () => {
    const addresses = ["fd00::10", "10.0.0.10", "fd00::9", "10.0.0.9", "9.0.0.1", "fd00:0:0::1"];
    expect(addresses.toSorted(compareAddresses)).toEqual([
      "9.0.0.1",
      "10.0.0.9",
      "10.0.0.10",
      "fd00:0:0::1",
      "fd00::9",
      "fd00::10",
    ]);
  });
});

describe("port specifications", () => {
  it.each([
    ["22,80,8000-8100,U:53,!25", { tcp: 103, udp: 1 }],
    ["1-100,50-150", { tcp: 150, udp: 0 }],
    ["!1-1024", { tcp: 64511, udp: 0 }],
    ["1-100, !25", { tcp: 99, udp: 0 }],
    ["T:80,U:53", { tcp: 1, udp: 1 }],
  ])("%s counts", (spec, ports) => {
    expect(countPorts(spec)).toEqual(ports);
  });

  it("takes plain ports as what the network's transport says", () => {
    expect(countPorts("53", "udp")).toEqual({ tcp: 0, udp: 1 });
    expect(countPorts("53,80", "both")).toEqual({ tcp: 2, udp: 2 });
  });

  it.each([
    ["", "at least one port"],
    ["22,,80", "empty place"],
    ["ssh", "not a port"],
    ["0", "outside 1-65535"],
    ["1-65536", "outside 1-65535"],
    ["90-80", "starts after"],
  ])("%j is refused in words", (spec, words) => {
    expect(countPorts(spec)).toContain(words);
  });

  it("estimates what a scan takes", () => {
    expect(estimate("192.0.2.0/24", "1-1000", "tcp", 1000)).toEqual({ probes: 256_000n, seconds: 256 });
    expect(estimate("192.0.2.0/24", "1-1000", "tcp", 0)).toBeNull();
    expect(estimate("nowhere", "1-1000", "tcp", 1000)).toBeNull();
  });

  it("knows the machine's own addresses", () => {
    for (const own of ["127.0.0.1/32", "127.0.0.1", "127.0.0.0/8", "::1", "::1/128"]) {
      expect(isLoopback(own), own).toBe(true);
    }
    for (const other of ["10.0.0.1", "12.7.0.0/8", "::/0", "127.example.org", ""]) {
      expect(isLoopback(other), other).toBe(false);
    }
  });
});
