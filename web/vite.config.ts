import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// During development the API is served by a portreeve-server on its usual port.
const server = process.env.PORTREEVE_SERVER ?? "http://127.0.0.1:8181";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    target: "es2023",
    // Fonts and icons stay files: the content security policy allows no data: URLs.
    assetsInlineLimit: 0,
    manifest: true,
    reportCompressedSize: false,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": server, "/health": server } },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
});
