import { expect, test } from "vitest";
import {
  alike,
  evidenceBySource,
  isOldTls,
  layers,
  legible,
  note,
  sshKeys,
  validity,
  verdictText,
} from "./finding";

const now = new Date("2026-05-01T00:00:00Z");
const day = 86_400_000;

test("tells how long a certificate holds", () => {
  const from = now.getTime() - day;
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() - 1 }, now)).toBe("expired");
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() + 29 * day }, now)).toBe("soon");
  expect(validity({ not_before_ms: from, not_after_ms: now.getTime() + 31 * day }, now)).toBe("good");
  expect(validity({ not_before_ms: now.getTime() + day }, now)).toBe("early");
});

test("gathers evidence of one source and entry", () => {
  const sources = evidenceBySource([
    { field: "service", source: "ssh.banner", entry: "ssh/openssh" },
    { field: "version", source: "ssh.banner", entry: "ssh/openssh" },
    { field: "os", source: "layout of the SYN-ACK's options" },
  ]);
  expect(sources.map(({ fields, entry }) => [fields.join(", "), entry])).toEqual([
    ["Service, version", "ssh/openssh"],
    ["OS", undefined],
  ]);
});

test("names layers outermost first, and roles only as far as they are known", () => {
  const http = { status: 200, servers: ["nginx/1.24.0", "1.1 varnish"], technologies: ["PHP/8.2"] };
  expect(layers({ tls: { version: "TLSv1.3" }, http }).map(({ role, name }) => `${role} ${name}`)).toEqual([
    "Encryption TLSv1.3",
    "Server or proxy nginx/1.24.0",
    "Server or proxy 1.1 varnish",
    "Application PHP/8.2",
  ]);
  expect(layers({ http: { status: 200, servers: ["nginx"] } })).toEqual([{ role: "Server", name: "nginx" }]);
  expect(layers({})).toEqual([]);
});

test("lists each host key once", () => {
  const keys = sshKeys({
    server_banner: "",
    protocol_version: "2.0",
    ssh_version: "",
    ciphers: [],
    kex_algorithms: [],
    mac_algorithms: [],
    host_key_types: [],
    host_keys: ["SHA256:a", "SHA256:b"],
    keys: [{ kind: "ssh-rsa", bits: 1024, fingerprint: "SHA256:a", is_weak: true }],
  });
  expect(keys.map(({ kind, fingerprint }) => [kind, fingerprint])).toEqual([
    ["ssh-rsa", "SHA256:a"],
    [undefined, "SHA256:b"],
  ]);
});

test("says verdicts in sentences and notes without marks", () => {
  expect(verdictText("tarpit")).toMatch(/^A trap/);
  expect(verdictText("syn-proxy")).toContain("every port of its host");
  expect(note("[FAIL] broken hash")).toBe("broken hash");
  expect([isOldTls("TLSv1.1"), isOldTls("TLSv1.2")]).toEqual([true, false]);
});

test("shows the words of protocols that are not made of text, and nothing where there are none", () => {
  expect(legible("220 harbour ESMTP\uFFFD")).toBe("220 harbour ESMTP ·");
  expect(legible("\uFFFD\uFFFDLB\uFFFD\uFFFD__MSBROWSE__\uFFFD \uFFFDHARBOUR")).toBe(
    "· LB · __MSBROWSE__ · HARBOUR",
  );
  for (const none of [null, undefined, "", "\uFFFD\uFFFD0l\uFFFD+\uFFFD"]) expect(legible(none)).toBeNull();
});

test("puts together what says the same", () => {
  const told = [
    { port: 139, name: "A" },
    { port: 161, name: "B" },
    { port: 445, name: "A" },
  ];
  const ports = alike(told, ({ name }) => name).map((group) => group.map(({ port }) => port));
  expect(ports).toEqual([[139, 445], [161]]);
});
