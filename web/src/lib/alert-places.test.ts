import { describe, expect, it } from "vitest";
import { firstScanOf, placesOf } from "./alert-places";

describe("firstScanOf", () => {
  it("tells what a first scan found", () => {
    expect(firstScanOf({ first_scan: { ports: 20, hosts: 2 }, places: [] })).toEqual({ ports: 20, hosts: 2 });
  });
  it("takes anything", () => {
    for (const detail of [undefined, null, {}, { first_scan: null }, { first_scan: { ports: "x" } }]) {
      expect(firstScanOf(detail)).toBeNull();
    }
  });
});

describe("placesOf", () => {
  it("tells places and how many are left out", () => {
    expect(placesOf({ places: ["10.99.0.1:443", "10.99.0.2:443"], place_count: 30 })).toEqual({
      places: ["10.99.0.1:443", "10.99.0.2:443"],
      more: 28,
    });
  });
  it("takes anything", () => {
    for (const detail of [undefined, null, {}, { places: 7, place_count: "x" }, { places: [1, null] }]) {
      expect(placesOf(detail)).toEqual({ places: [], more: 0 });
    }
  });
});
