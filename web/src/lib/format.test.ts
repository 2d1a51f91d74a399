import { describe, expect, it } from "vitest";
import {
  compact,
  count,
  duration,
  endpoint,
  parseTime,
  percent,
  plural,
  relativeTime,
  words,
} from "./format";

describe("times", () => {
  const now = new Date("2026-11-21T20:00:00Z");

  it("reads a time without a zone as UTC", () => {
    expect(parseTime("2026-11-21T20:13:45").toISOString()).toBe("2026-11-21T20:13:45.000Z");
    expect(parseTime("2026-11-21T21:13:45+01:00").toISOString()).toBe("2026-11-21T20:13:45.000Z");
  });

  it.each([
    ["2026-11-21T19:59:58Z", "just now"],
    ["2026-11-21T19:59:20Z", "40 s ago"],
    ["2026-11-21T19:01:00Z", "59 min ago"],
    ["2026-11-20T19:00:00Z", "25 h ago"],
    ["2026-11-11T20:00:00Z", "10 days ago"],
    ["2026-11-21T20:03:00Z", "in 3 min"],
  ])("%s is %s", (time, text) => {
    expect(relativeTime(new Date(time), now)).toBe(text);
  });

  it.each([
    [0.0123, "12 ms"],
    [4.25, "4.3 s"],
    [59, "59 s"],
    [3780, "1 h 3 min"],
    [7200, "2 h"],
    [90061, "1 d 1 h"],
    [Number.NaN, "–"],
    [-1, "–"],
  ])("%d seconds last %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });
});

describe("numbers", () => {
  it("groups digits with thin spaces that do not break", () => {
    expect(count(1234567)).toBe("1\u202f234\u202f567");
    expect(count(999)).toBe("999");
    expect(count(2n ** 64n)).toBe("18\u202f446\u202f744\u202f073\u202f709\u202f551\u202f616");
  });

  it("shortens what is large", () => {
    expect(compact(9999)).toBe("9\u202f999");
    expect(compact(12_300)).toBe("12.3 k");
    expect(compact(65_535_000)).toBe("65.5 M");
  });

  it("writes fractions with the places that they need", () => {
    expect(percent(0)).toBe("0 %");
    expect(percent(0.00001)).toBe("< 0.01 %");
    expect(percent(0.0042)).toBe("0.42 %");
    expect(percent(0.5)).toBe("50 %");
  });

  it("knows one from many", () => {
    expect(plural(1, "port")).toBe("1 port");
    expect(plural(0, "port")).toBe("0 ports");
    expect(plural(2, "address", "addresses")).toBe("2 addresses");
  });
});

describe("names", () => {
  it("puts IPv6 addresses in brackets before a port", () => {
    expect(endpoint("10.0.0.1", 22)).toBe("10.0.0.1:22");
    expect(endpoint("fd99::1", 22)).toBe("[fd99::1]:22");
  });

  it("makes words of identifiers", () => {
    expect(words("ssh_weak_kex")).toBe("SSH weak key exchange");
    expect(words("port_opened")).toBe("Port opened");
  });
});
