// Fails when the first page costs more than it may: what index.html loads, brotli-compressed, and every chunk
// that a page loads later.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";

const KB = 1024;
const LIMITS = { firstScripts: 200 * KB, firstStyles: 20 * KB, chunk: 80 * KB, fonts: 60 * KB };

const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const html = readFileSync(join(dist, "index.html"), "utf8");
const manifest = JSON.parse(readFileSync(join(dist, ".vite/manifest.json"), "utf8"));

const compressed = (file) => brotliCompressSync(readFileSync(join(dist, file))).length;
const sum = (files) => files.reduce((total, file) => total + compressed(file), 0);

/** A chunk and what it imports at once. */
function closure(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const imported of manifest[name]?.imports ?? []) closure(imported, seen);
  return seen;
}

const first = new Set([...closure("index.html"), ...closure("src/pages/dashboard.tsx")]);
const firstScripts = [...first].map((name) => manifest[name].file).filter((file) => file.endsWith(".js"));
const styles = [...new Set([...first].flatMap((name) => manifest[name].css ?? []))];
const firstFiles = new Set(firstScripts);
const assets = readdirSync(join(dist, "assets"));
const lazy = assets
  .map((file) => `assets/${file}`)
  .filter((file) => file.endsWith(".js") && !firstFiles.has(file));
const fonts = assets.filter((file) => file.endsWith(".woff2") && /-latin-wght/.test(file));
const fontBytes = fonts.reduce((total, file) => total + readFileSync(join(dist, "assets", file)).length, 0);

const rows = [
  ["scripts of the first page", sum(firstScripts), LIMITS.firstScripts],
  ["styles of the first page", sum(styles), LIMITS.firstStyles],
  ["largest later chunk", Math.max(0, ...lazy.map(compressed)), LIMITS.chunk],
  ["fonts for Latin text", fontBytes, LIMITS.fonts],
];
const foreign = [...html.matchAll(/(?:src|href)="(https?:)?\/\/[^"]+"/g)].map((match) => match[0]);

let failed = false;
for (const [what, bytes, limit] of rows) {
  const over = bytes > limit;
  failed ||= over;
  console.log(`${over ? "over" : "ok  "}  ${what.padEnd(28)} ${(bytes / KB).toFixed(1)} of ${limit / KB} KB`);
}
if (foreign.length > 0) {
  failed = true;
  console.log(`over  index.html asks other hosts: ${foreign.join(", ")}`);
}
process.exitCode = failed ? 1 : 0;
