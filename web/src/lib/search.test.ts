import { describe, expect, it } from "vitest";
import { alertsFilter, hostsFilter, portsFilter, searchSchema } from "@/filters";
import { flag, int, parseSearch, portBounds, portRange, stringifySearch, text } from "./search";

describe("filters in the URL", () => {
  const ports = searchSchema(portsFilter);

  it("come back as they went", () => {
    const filter = {
      network: 3,
      ip: "10.0.0.0/24",
      port: "8000-8100",
      protocol: "tcp",
      service: "a b&c=d",
      sort: "port",
      dir: "desc",
    };
    expect(ports(parseSearch(stringifySearch(filter)))).toEqual(filter);
  });

  it("leave out what is absent, so that links stay short", () => {
    expect(stringifySearch({ port: "22", ip: undefined, service: "" })).toBe("?port=22");
    expect(stringifySearch({})).toBe("");
  });

  it("never break a page, whatever they say", () => {
    const hostile = "?network=-1&port=99999&protocol=icmp&sort=password&dir=sideways&ip=%20&evil=1";
    expect(ports(parseSearch(hostile))).toEqual({});
    expect(searchSchema(hostsFilter)({ up: "maybe", q: ["a"], network: {} })).toEqual({});
    expect(searchSchema(alertsFilter)(parseSearch("?id=7&show=all&severity=high"))).toEqual({
      id: 7,
      show: "all",
      severity: "high",
    });
  });
});

describe("single values", () => {
  it("ports and ranges are put into one form", () => {
    expect(portRange("443")).toBe("443");
    expect(portRange("443-443")).toBe("443");
    expect(portRange("0")).toBeUndefined();
    expect(portRange("90-80")).toBeUndefined();
    expect(portBounds("80-90")).toEqual({ port_min: 80, port_max: 90 });
    expect(portBounds("80")).toEqual({ port_min: 80, port_max: 80 });
    expect(portBounds(undefined)).toEqual({});
  });

  it("numbers, words and switches", () => {
    expect(int(1, 10)("10")).toBe(10);
    expect(int(1, 10)("11")).toBeUndefined();
    expect(int()("1e3")).toBeUndefined();
    expect(text("  x  ")).toBe("x");
    expect(text("x".repeat(500))).toHaveLength(200);
    expect(flag("0")).toBe(false);
    expect(flag("yes")).toBeUndefined();
  });
});
