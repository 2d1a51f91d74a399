import { QueryClient } from "@tanstack/react-query";
import { beforeEach, describe, expect, it } from "vitest";
import { applyEvents, LIVE_PORTS, mergePorts, type PortEvent, type ScanEvent } from "./live";

const scanEvent = (change: Partial<ScanEvent> = {}): ScanEvent => ({
  scan_id: 7,
  network_id: 1,
  status: "running",
  progress_percent: 40,
  progress_message: "Sending",
  open_ports: 2,
  probes_sent: 400,
  probes_total: 1000,
  rate_pps: 100,
  ...change,
});

const portEvent = (port: number, change: Partial<PortEvent> = {}): PortEvent => ({
  scan_id: 7,
  network_id: 1,
  ip: "127.0.0.1",
  port,
  protocol: "tcp",
  state: "open",
  service: null,
  product: null,
  version: null,
  ...change,
});

let queries: QueryClient;
beforeEach(() => {
  queries = new QueryClient();
});

const isStale = (key: readonly unknown[]) => queries.getQueryState(key)?.isInvalidated;

describe("a scan that goes on", () => {
  it("moves in every list that shows it and on its own page, without loading again", () => {
    const row = { id: 7, status: "running", progress_percent: 10, port_count: 0 };
    queries.setQueryData(["scans", { limit: 50 }], { scans: [row, { ...row, id: 6 }], total: 2 });
    queries.setQueryData(["scan", 7], { id: 7, status: "running", progress_percent: 10, open_ports: [] });
    applyEvents(queries, [{ name: "scan", data: scanEvent() }]);
    const list = queries.getQueryData<{ scans: (typeof row)[] }>(["scans", { limit: 50 }]);
    expect(list?.scans[0]).toMatchObject({ progress_percent: 40, port_count: 2 });
    expect(list?.scans[1]).toMatchObject({ id: 6, progress_percent: 10 });
    expect(queries.getQueryData(["scan", 7])).toMatchObject({ progress_percent: 40, rate_pps: 100 });
    expect(isStale(["scans", { limit: 50 }])).toBe(false);
    expect(isStale(["scan", 7])).toBe(false);
  });

  it("moves on the dashboard, which loads again only for a scan that it does not show", () => {
    const trust = { active_scans: [{ id: 7, status: "running", progress_percent: 10, port_count: 0 }] };
    queries.setQueryData(["dashboard"], { trust });
    queries.setQueryData(["scans", {}], { scans: [{ id: 7 }], total: 1 });
    applyEvents(queries, [{ name: "scan", data: scanEvent() }]);
    expect(queries.getQueryData(["dashboard"])).toMatchObject({
      trust: { active_scans: [{ id: 7, progress_percent: 40, port_count: 2 }] },
    });
    expect(isStale(["dashboard"])).toBe(false);
    applyEvents(queries, [{ name: "scan", data: scanEvent({ scan_id: 8 }) }]);
    expect(isStale(["dashboard"])).toBe(true);
  });

  it("is fetched where no list has it yet", () => {
    queries.setQueryData(["scans", {}], { scans: [], total: 0 });
    applyEvents(queries, [{ name: "scan", data: scanEvent({ status: "planned" }) }]);
    expect(isStale(["scans", {}])).toBe(true);
  });

  it("makes everything it may have changed load again once it ends", () => {
    for (const key of ["ports", "hosts", "changes", "networks"]) queries.setQueryData([key, 1], {});
    queries.setQueryData(["scan", 7], { id: 7, status: "running", open_ports: [] });
    applyEvents(queries, [{ name: "scan", data: scanEvent({ status: "completed", progress_percent: 100 }) }]);
    for (const key of ["ports", "hosts", "changes", "networks"]) expect(isStale([key, 1]), key).toBe(true);
    expect(isStale(["scan", 7])).toBe(true);
  });

  it("leaves cached lists of another shape alone", () => {
    queries.setQueryData(["scans", "latest"], [{ network_id: 1, scan: null }]);
    applyEvents(queries, [{ name: "scan", data: scanEvent() }]);
    expect(queries.getQueryData(["scans", "latest"])).toEqual([{ network_id: 1, scan: null }]);
  });
});

describe("ports that arrive", () => {
  it("are collected per scan, newest first, each place once", () => {
    applyEvents(queries, [
      { name: "port", data: portEvent(22) },
      { name: "port", data: portEvent(80) },
      { name: "port", data: portEvent(22, { service: "ssh" }) },
      { name: "port", data: portEvent(443, { scan_id: 8 }) },
    ]);
    const ports = queries.getQueryData<PortEvent[]>(["scan-live-ports", 7]);
    expect(ports?.map((port) => port.port)).toEqual([80, 22]);
    expect(ports?.[1]?.service).toBe("ssh");
    expect(queries.getQueryData<PortEvent[]>(["scan-live-ports", 8])).toHaveLength(1);
  });

  it("keep what was identified when a later event says less", () => {
    const [port] = mergePorts([portEvent(22, { service: "ssh", product: "OpenSSH" })], [portEvent(22)]);
    expect(port).toMatchObject({ service: "ssh", product: "OpenSSH" });
  });

  it("are bounded, however many a host claims to have", () => {
    const flood = Array.from({ length: LIVE_PORTS + 500 }, (_, index) => portEvent(index));
    const kept = mergePorts([], flood);
    expect(kept).toHaveLength(LIVE_PORTS);
    expect(kept[0]?.port).toBe(LIVE_PORTS + 499);
  });
});

describe("the rest", () => {
  it("alerts and agents refresh what shows them", () => {
    queries.setQueryData(["alerts", {}], {});
    queries.setQueryData(["agents"], []);
    applyEvents(queries, [
      {
        name: "alert",
        data: {
          id: 1,
          alert_type: "new_port",
          severity: "high",
          network_id: 1,
          ip: "127.0.0.1",
          port: 22,
          message: "x",
        },
      },
      { name: "agent", data: { id: 1, name: "here", online: true } },
    ]);
    expect(isStale(["alerts", {}])).toBe(true);
    expect(isStale(["agents"])).toBe(true);
  });

  it("resync makes everything load again", () => {
    queries.setQueryData(["networks"], []);
    applyEvents(queries, [{ name: "resync", data: {} }]);
    expect(isStale(["networks"])).toBe(true);
  });
});
