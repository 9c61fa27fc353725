import { defineConfig } from "vite";

export default defineConfig({
  // The SDK is built from its sources, so the app never shows an old one.
  resolve: { conditions: ["switchyard-source", "module", "browser", "development|production"] },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // Files, never data: URLs or inline scripts: the page works under a strict Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8080", ws: true } } },
});
