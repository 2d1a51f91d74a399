// The journey of a new user, in a real browser against the real server and a real agent: set-up, scan of this
// machine, ports arriving, a port that opens, its alert, the acknowledgement. Every page is looked at in both
// themes and on a small screen, and checked with axe.
//
// PORTREEVE_BIN_DIR  folder of portreeve-server and portreeve (default ../target/debug)
// CHROMIUM           the browser (default /usr/bin/chromium)
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createWebServer } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const binaries = resolve(here, process.env.PORTREEVE_BIN_DIR ?? "../../target/debug");
const out = join(here, "out");
const axe = readFileSync(join(here, "../node_modules/axe-core/axe.min.js"), "utf8");
const email = "captain@example.org";
const password = "a harbour of four words";

let base;
let browser;
let page;
let state;
let setupLink;
const children = [];
const listeners = [];
const problems = [];

/** Listens on a port of a loopback address, a free one by default, and says a line to whoever connects. */
async function listen(words, port = 0, address = "127.0.0.1") {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(words);
  });
  await new Promise((done) => server.listen(port, address, done));
  listeners.push(server);
  return server.address().port;
}

/** A web server whose certificate ran out in 2021, signed by itself (expired.pem holds it with its key). */
async function listenSecurely() {
  const pem = readFileSync(join(here, "expired.pem"));
  const server = createWebServer({ key: pem, cert: pem }, (request, answer) => {
    answer.setHeader("Server", "harbour-web/3.1");
    // What hosts say is shown as they say it, and never becomes part of the page.
    answer.end(`<title>&lt;img src=x onerror=alert(1)&gt; Pier ${request.url === "/" ? 7 : 0}</title>`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  listeners.push(server);
  return server.address().port;
}

/** OpenSSH with one host key at two ports, and a cipher nobody should offer. */
async function listenForShells() {
  const ports = [await freePort(), await freePort()];
  const key = join(state, "host-key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  // The daemon insists on its privilege separation folder; the package's service file makes it.
  if (process.getuid() === 0) mkdirSync("/run/sshd", { recursive: true });
  const options = [
    "PidFile=none",
    "UsePAM=no",
    "ListenAddress=127.0.0.1",
    "Ciphers=aes256-ctr,3des-cbc",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
  ];
  start(
    "sshd",
    [
      "-D",
      "-e",
      "-f",
      "/dev/null",
      "-h",
      key,
      ...options.flatMap((option) => ["-o", option]),
      ...ports.flatMap((port) => ["-p", String(port)]),
    ],
    "/usr/sbin",
  );
  return ports;
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts a program; its words are kept, to be shown where the journey fails. */
function start(name, args, folder = binaries) {
  const child = spawn(join(folder, name), args, { stdio: ["ignore", "pipe", "pipe"] });
  child.named = name;
  child.words = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      child.words = (child.words + text).slice(-40_000);
    });
  }
  child.on("error", (error) => {
    child.words += String(error);
  });
  children.push(child);
  return child;
}

async function until(what, probe, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) {
      const words = children.map((child) => `--- ${child.named}\n${child.words}`).join("\n");
      assert.fail(`waited ${seconds} s for ${what}\n${words}`);
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await ended;
  clearTimeout(timer);
}

/** Serious and critical violations of the page as it is now. axe comes in beside the page's own policy. */
async function check(name) {
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  await session.detach();
  const violations = await page.evaluate(async () => {
    const result = await globalThis.axe.run();
    return result.violations
      .filter((one) => one.impact === "serious" || one.impact === "critical")
      .map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
  });
  assert.deepEqual(violations, [], `axe on ${name}`);
  const spill = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(spill <= 0, `${name} is ${spill} px wider than the screen`);
}

/** Shows the page in both themes and on a small screen, each checked and kept as a picture. */
async function look(name) {
  for (const [theme, size] of [
    ["light", { width: 1440, height: 900 }],
    ["dark", { width: 1440, height: 900 }],
    ["light", { width: 390, height: 844 }],
  ]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
    const label = `${name}-${size.width < 500 ? "small" : theme}`;
    await page.screenshot({ path: join(out, `${label}.png`) });
    await check(label);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
}

/** Waits until nothing on the page is still loading. */
const loaded = () => page.waitForFunction(() => !document.querySelector('[aria-label="Loading"]'));

async function open(path, heading) {
  await page.goto(base + path);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  await loaded();
}

/** Calls the API as the page would. */
const api = (method, path, json) =>
  page.evaluate(
    async ([verb, url, given]) => {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch(url, {
        method: verb,
        ...(given && { headers, body: JSON.stringify(given) }),
      });
      const text = await answer.text();
      return { status: answer.status, body: text ? JSON.parse(text) : null };
    },
    [method, path, json],
  );

/** Waits until the scan on screen has ended well. */
async function scanned() {
  const done = page.getByRole("heading", { level: 1, name: /^Scan \d+ Completed/ });
  const failed = page.getByRole("heading", { level: 1, name: /^Scan \d+ (Failed|Cancelled)/ });
  await until(
    "the scan to end",
    async () => {
      if (await failed.count()) assert.fail(`the scan failed: ${await page.locator("main").innerText()}`);
      return (await done.count()) > 0;
    },
    120,
  );
}

/** Waits until the scan on screen has come some of its way, and not all of it. */
const underWay = () =>
  page.waitForFunction(
    () => {
      const value = document.querySelector('[role="progressbar"]')?.getAttribute("aria-valuenow");
      return Number(value) > 0 && Number(value) < 100;
    },
    undefined,
    { timeout: 60_000 },
  );

before(async () => {
  mkdirSync(out, { recursive: true });
  state = mkdtempSync(join(tmpdir(), "portreeve-e2e-"));
  // PostgreSQL runs under another account when root starts the server, and must reach its folder.
  chmodSync(state, 0o755);
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  const server = start("portreeve-server", [
    "serve",
    "--listen",
    `127.0.0.1:${port}`,
    "--state",
    join(state, "server"),
  ]);
  const up = () =>
    fetch(`${base}/health`).then(
      (answer) => answer.ok,
      () => server.exitCode !== null,
    );
  await until("the server", up, 180);
  assert.equal(server.exitCode, null, server.words);
  setupLink = await until(
    "the set-up link",
    () => /https?:\/\/\S+\/setup#token=[\w.~-]+/.exec(server.words)?.[0],
  );
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-sync",
    ],
  });
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    reducedMotion: "reduce",
  });
  page = await context.newPage();
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // The browser itself reports answers such as 401 and 422; the pages show them, and the journey checks that.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      problems.push(`console: ${message.text()}`);
    }
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) problems.push(`foreign request: ${request.url()}`);
  });
});

after(async () => {
  await browser?.close();
  for (const child of children.toReversed()) await stop(child);
  for (const server of listeners) server.close();
  if (state) rmSync(state, { recursive: true, force: true });
});

describe("a new user", () => {
  let networkId;
  let watched;
  let later;
  let secure;
  let shells;

  test("is sent to set-up, and needs the link", async () => {
    await open("/", "Set up Portreeve");
    await look("setup-no-token");
  });

  test("makes the first account with the one-time link", async () => {
    const link = new URL(setupLink);
    // Only the fragment differs from the page before: as a new visit, not as a jump within it.
    await page.goto("about:blank");
    await page.goto(base + link.pathname + link.hash);
    await page.getByLabel("E-mail").fill(email);
    await look("setup");
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByLabel("Password again").fill(password);
    await page.getByRole("button", { name: "Make the account" }).click();
    await page.getByRole("navigation", { name: "Main", exact: true }).waitFor();
    assert.ok(!page.url().includes("token"), "the token is gone from the address");
    await loaded();
    await look("first-dashboard");
  });

  test("enrols an agent with the command that the page shows", async () => {
    await open("/agents", "Agents");
    await page.getByRole("button", { name: "Enrol an agent" }).first().click();
    await page.getByLabel("What is it for?").fill("The journey");
    await page.getByRole("button", { name: "Make a token" }).click();
    const command = await page.locator("dialog code").innerText();
    await check("enrolment");
    const token = /--enroll (\S+)/.exec(command)?.[1];
    assert.ok(token, command);
    await page.getByRole("button", { name: "Done" }).click();
    const agentState = join(state, "agent");
    start("portreeve", [
      "agent",
      "--server",
      base,
      "--state",
      agentState,
      "--enroll",
      token,
      "--name",
      "journey",
    ]);
    await until("the agent to be online", async () => {
      await open("/agents", "Agents");
      return (await page.getByRole("row", { name: /journey.*Online/ }).count()) > 0;
    });
    await look("agents");
  });

  test("is told what is wrong with a network, then adds it", async () => {
    watched = [
      await listen("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"),
      await listen("220 harbour ESMTP Postfix\r\n"),
    ];
    secure = await listenSecurely();
    shells = await listenForShells();
    later = await freePort();
    await open("/networks?new=true", "Networks");
    await page.getByLabel("Name", { exact: true }).fill("Loopback");
    await page.getByLabel("Addresses").fill("300.0.0.0/8");
    await page.getByLabel("Ports", { exact: true }).fill([...watched, secure, ...shells, later].join(","));
    await page.getByLabel("When").selectOption({ label: "Weeknights at 02:30" });
    await page.getByText(/Next runs, in your time/).waitFor();
    await page.getByRole("button", { name: "Add it" }).click();
    await page
      .getByText(/Invalid CIDR/)
      .first()
      .waitFor();
    await look("network-form");
    await page.getByLabel("Addresses").fill("127.0.0.1/32");
    await page.getByRole("button", { name: "Add it" }).click();
    await page.getByRole("heading", { level: 1, name: "Loopback" }).waitFor();
    networkId = Number(/networks\/(\d+)/.exec(page.url())?.[1]);
    await loaded();
    await look("network");
  });

  test("scans it and sees the ports arrive", async () => {
    await page.getByRole("button", { name: "Scan now" }).click();
    await page.getByRole("heading", { level: 1, name: /^Scan \d+/ }).waitFor();
    for (const port of watched) {
      await page
        .getByRole("row", { name: new RegExp(`127\\.0\\.0\\.1 ${port}/tcp`) })
        .waitFor({ timeout: 90_000 });
    }
    await scanned();
    await page.getByRole("row", { name: new RegExp(`${watched[0]}/tcp ssh`) }).waitFor();
    await look("scan");
    await page.getByRole("tab", { name: "Log" }).click();
    await loaded();
    await look("scan-log");
  });

  test("finds the ports in the list, filtered by the address bar", async () => {
    await open(`/ports?port=${watched[0]}`, "Open ports");
    await page.getByText("1 found").waitFor();
    await page.getByRole("row", { name: new RegExp(`${watched[0]}/tcp ssh OpenSSH 9\\.2p1`) }).waitFor();
    await look("ports");
    await open("/ports?service=no-such-service", "Open ports");
    await page.getByText("No open port matches").waitFor();
    await check("ports-empty");
  });

  test("is told what TLS and SSH servers show, what is wrong with it, and where else it is shown", async () => {
    const { body } = await api("GET", `/api/ports?port_min=${secure}&port_max=${secure}`);
    // Its heading is the name that one of its services gave it.
    await open(`/hosts/${body.ports[0].host_id}`, /./);
    const expand = (port) => page.getByRole("button", { name: `More about port ${port}/tcp` }).press("Enter");
    await expand(secure);
    const findings = page.getByRole("list", { name: "Findings" });
    await findings.getByText("The certificate ran out on 2021-01-01").waitFor();
    await findings.getByText(/self-signed/).waitFor();
    for (const name of [/^TLS: TLSv1/, "HTTP: status 200", "Layers"]) {
      await page.getByRole("heading", { level: 3, name }).waitFor();
    }
    await page.getByText("harbour.example, pier.example").waitFor();
    // The network's TLS audit is on from the start.
    for (const version of ["TLSv1.2", "TLSv1.3"])
      await page.getByText(version, { exact: true }).first().waitFor();
    await page.getByText("JARM", { exact: true }).waitFor();
    await page.getByText("<img src=x onerror=alert(1)> Pier 7").waitFor();
    assert.equal(await page.locator('main img[src="x"]').count(), 0, "a title became an element");
    await look("host-tls");
    await page.getByRole("button", { name: `Less about port ${secure}/tcp` }).press("Enter");

    await expand(shells[0]);
    await findings.getByText("Offers weak encryption: 3des-cbc").waitFor();
    await page.getByRole("heading", { level: 3, name: "SSH", exact: true }).waitFor();
    await page.getByText("OpenSSH_").first().waitFor();
    await page.getByText(`:${shells[1]}/tcp`, { exact: true }).waitFor();
    await page.getByRole("heading", { level: 2, name: "Why it is taken for that" }).waitFor();
    await look("host-ssh");
    const key = page.getByRole("list", { name: "Host keys" }).getByTitle("Ports that show the same");
    await key.first().press("Enter");
    await page.getByRole("heading", { level: 1, name: "Open ports" }).waitFor();
    await page.getByText("2 found").waitFor();
    assert.ok(new URL(page.url()).searchParams.get("fingerprint")?.startsWith("ssh-key:SHA256:"), page.url());
    await look("ports-with-key");
  });

  test("makes what is there expected by a rule", async () => {
    await open("/alerts?type=tls_expired", "Alerts");
    await page
      .getByText(/^The certificate ran out on 2021-01-01 .* on 127\.0\.0\.1:/)
      .first()
      .waitFor();
    await look("alerts-certificate");
    const alerts = await api("GET", "/api/alerts?acknowledged=false&limit=200");
    for (const alert of alerts.body.alerts) await api("PUT", `/api/alerts/${alert.id}/acknowledge`);
    await open("/policy", "Policy");
    await page.getByRole("button", { name: "Add a rule" }).click();
    await page.getByLabel("Where").selectOption({ label: "Loopback" });
    await page.getByLabel("Port or range").fill(String(watched[0]));
    await page.getByLabel("Why").fill("Expected on this machine");
    await check("rule-form");
    await page.getByRole("button", { name: "Add it" }).click();
    await page.getByRole("row", { name: new RegExp(`allow Loopback any ${watched[0]}`) }).waitFor();
    await look("policy");
  });

  test("is alerted, live, when a port opens", async () => {
    await listen("+OK harbour\r\n", later);
    await open("/alerts", "Alerts");
    await page.getByText("Nothing needs you").waitFor();
    // Nothing reloads this page: what appears comes through the event stream.
    const started = await api("POST", `/api/networks/${networkId}/scan`);
    assert.equal(started.status, 201, JSON.stringify(started.body));
    await page.getByText(`127.0.0.1:${later}`).first().waitFor({ timeout: 120_000 });
    await look("alerts");
    await open(`/scans/${started.body.scan_id}?tab=diff`, /^Scan/);
    await scanned();
    await page.getByText("open here, not there").waitFor();
    await page.getByRole("row", { name: new RegExp(`Opened 127\\.0\\.0\\.1 ${later}/tcp`) }).waitFor();
    await look("scan-diff");
  });

  test("acknowledges it by keyboard, and takes it back", async () => {
    await open("/alerts", "Alerts");
    const rows = page.getByRole("list", { name: "Alerts" }).locator("[data-row]");
    await rows.first().waitFor();
    const many = await rows.count();
    await page.keyboard.press("Enter");
    await page.getByText("What happened to it").waitFor();
    await loaded();
    await look("alert-details");
    await page.keyboard.press("Enter");
    await page.keyboard.press("a");
    await page.getByText(/1 alert acknowledged/).waitFor();
    await until("the row to go", async () => (await rows.count()) === many - 1);
    await page.getByRole("button", { name: "Undo" }).click();
    await until("the row to come back", async () => (await rows.count()) === many);
    await page.keyboard.press("a");
    await until("the row to go again", async () => (await rows.count()) === many - 1);
  });

  test("edits the network, and watches a scan of every port go on", async () => {
    await open(`/networks/${networkId}`, "Loopback");
    await page.getByRole("button", { name: "Edit" }).click();
    const form = page.getByRole("dialog", { name: "Edit Loopback" });
    await form.getByLabel("Ports", { exact: true }).fill("1-65535");
    // Slow enough that the way can be watched.
    await form.getByLabel("Packets per second").fill("8000");
    await form.getByLabel("Never send to").fill("127.0.0.9");
    await form.getByRole("button", { name: "Save" }).click();
    await page.getByText("Saved.").waitFor();
    await page.getByText("8\u202f000 packets/s").waitFor();
    const saved = await api("GET", `/api/networks/${networkId}`);
    assert.equal(saved.body.port_spec, "1-65535");
    assert.deepEqual(saved.body.exclude, ["127.0.0.9"]);
    await page.getByRole("button", { name: "Scan now" }).click();
    await page.getByRole("heading", { level: 1, name: /^Scan \d+/ }).waitFor();
    await underWay();
    await look("scan-live");
    await open(`/networks/${networkId}`, "Loopback");
    await page.getByRole("link", { name: /Watch scan/ }).click();
    await scanned();
    await page.getByRole("row", { name: new RegExp(`127\\.0\\.0\\.1 ${new URL(base).port}/tcp`) }).waitFor();
  });

  test("cancels a scan that runs", async () => {
    await page.getByRole("button", { name: "Scan again" }).click();
    await underWay();
    await page.getByRole("button", { name: "Cancel scan" }).click();
    await page.getByRole("heading", { level: 1, name: /^Scan \d+ Cancelled/ }).waitFor({ timeout: 60_000 });
    await page.getByText(/Cancelled by captain@example\.org/).waitFor();
    await look("scan-cancelled");
  });

  test("is told once of all that a network's first scan found", async () => {
    const ports = [];
    for (let count = 0; count < 12; count += 1) ports.push(await listen("+OK pier\r\n", 0, "127.0.0.5"));
    const { body: loopback } = await api("GET", `/api/networks/${networkId}`);
    const made = await api("POST", "/api/networks", {
      name: "Pier",
      cidr: "127.0.0.5/32",
      port_spec: ports.join(","),
      scanner_id: loopback.scanner_id,
    });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const started = await api("POST", `/api/networks/${made.body.id}/scan`);
    await open(`/scans/${started.body.scan_id}`, /^Scan/);
    await scanned();
    await open(`/alerts?network=${made.body.id}`, "Alerts");
    await page.getByRole("heading", { name: "1 alert", exact: true }).waitFor();
    await page.getByRole("button", { name: /^First scan to review/ }).click();
    await page.getByRole("list", { name: "Places" }).waitFor();
    await loaded();
    await look("alert-first-scan");
    await page.getByRole("link", { name: "Review the open ports" }).click();
    await page.getByRole("heading", { level: 1, name: "Open ports" }).waitFor();
    await page.getByText("12 found").waitFor();
  });

  test("comments an alert, takes it on, puts it off and writes the rule that makes it expected", async () => {
    const { port } = new URL(base);
    const alerts = await api("GET", "/api/alerts?acknowledged=false&limit=200");
    const alert = alerts.body.alerts.find((one) => one.port === Number(port));
    assert.ok(alert, "the server's own port raised an alert");
    const now = async () => (await api("GET", `/api/alerts/${alert.id}`)).body;
    await open(`/alerts?id=${alert.id}`, "Alerts");
    await page.getByLabel("Comment", { exact: true }).fill("This is Portreeve itself.");
    await page.getByRole("button", { name: "Add comment" }).click();
    await page.getByRole("listitem").getByText("This is Portreeve itself.").waitFor();
    await page.getByLabel("Assigned to").selectOption({ label: email });
    await until("the assignment", async () => (await now()).assigned_to_email === email);
    const rows = page.getByRole("list", { name: "Alerts" }).locator("[data-row]");
    const many = await rows.count();
    await page.getByRole("button", { name: "A day later" }).click();
    await page.getByText("Out of sight for a day.").waitFor();
    await until("the alert to be put off", async () => (await now()).snoozed_until !== null);
    await until("its row to go", async () => (await rows.count()) === many - 1);
    await page.getByRole("button", { name: "Undo" }).last().click();
    await until("the alert to be back", async () => (await now()).snoozed_until === null);
    await until("its row to come back", async () => (await rows.count()) === many);
    await open(`/alerts?id=${alert.id}`, "Alerts");
    await page.getByRole("button", { name: "Expected" }).click();
    await page.getByLabel("Why is this expected?").fill("Portreeve's own page");
    await look("expected");
    await page.getByRole("button", { name: /^Write 1 rule, close \d+ alert/ }).click();
    await page.getByText(/1 rule written, \d+ alerts? closed/).waitFor();
    await until("the alert to be closed", async () => (await now()).acknowledged);
  });

  test("finds that rule in the policy, and deletes it", async () => {
    const { port } = new URL(base);
    await open("/policy", "Policy");
    const rule = page.getByRole("row", { name: new RegExp(`allow Loopback 127\\.0\\.0\\.1 ${port} `) });
    await rule.getByText("Portreeve's own page").waitFor();
    await rule.getByRole("button", { name: "Remove this rule" }).click();
    await page.getByText("The rule is gone.").waitFor();
    await rule.waitFor({ state: "detached" });
    const { body } = await api("GET", "/api/policy");
    assert.ok(!body.rules.some((one) => one.port === port), "the rule is gone from the server");
  });

  test("looks at every other page", async () => {
    await open("/", /./);
    await look("dashboard");
    await open("/changes", "Changes");
    await page.getByRole("listitem").getByText("Port opened").first().waitFor();
    await look("changes");
    await open("/networks", "Networks");
    await look("networks");
    await open("/scans", "Scans");
    await look("scans");
    await open("/hosts", "Hosts");
    await look("hosts");
    await page.getByRole("link", { name: "127.0.0.1" }).first().click();
    await page.getByRole("heading", { level: 2, name: "Services" }).waitFor();
    await page.getByRole("button", { name: `More about port ${watched[0]}/tcp` }).click();
    await page.getByText(/Why it is believed: \d+ of 100 sure/).waitFor();
    await page.getByText("ssh.banner").first().waitFor();
    await loaded();
    await look("host");
    await open("/users", "Users");
    await look("users");
    await open("/audit", "Audit log");
    await page
      .getByRole("row", { name: /captain@example\.org/ })
      .first()
      .waitFor();
    await look("audit");
    await open("/settings", "Settings");
    await page.getByLabel("A cipher is weak").check();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText(/Saved\. It counts/).waitFor();
    await page.getByLabel("Days before a certificate's end").fill("14 60");
    await page.getByRole("button", { name: "Save the TLS alerts" }).click();
    await until("the days to be saved", async () => {
      const { body } = await api("GET", "/api/settings/tls-alert-defaults");
      return body.tls_expiring_days.join() === "60,14";
    });
    const settings = await api("GET", "/api/settings/ssh-alert-defaults");
    assert.equal(settings.body.ssh_weak_cipher, true);
    await look("settings");
    await open("/account", "Account");
    await look("account");
  });

  test("goes about by keyboard", async () => {
    await open("/", /./);
    await page.keyboard.press("g");
    await page.keyboard.press("n");
    await page.getByRole("heading", { level: 1, name: "Networks" }).waitFor();
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: /Page, network/ }).fill("loopb");
    await page.getByRole("option", { name: /Loopback/ }).waitFor();
    await check("palette");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Loopback" }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await check("help");
    await page.keyboard.press("Escape");
  });

  test("keeps the dark theme over a reload, and signs out and in", async () => {
    await page.getByRole("button", { name: /account of/ }).click();
    await page.getByRole("menuitem", { name: "Dark" }).click();
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await page.getByRole("button", { name: /account of/ }).click();
    await page.getByRole("menuitem", { name: "Sign out" }).click();
    await page.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
    await page.goto(`${base}/ports?port=22`);
    await page.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText(/Incorrect email or password/).waitFor();
    await look("login");
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "Open ports" }).waitFor();
    assert.ok(page.url().endsWith("/ports?port=22"), page.url());
  });

  test("met no error, no broken policy and no other host", () => {
    assert.deepEqual(problems, []);
  });
});
