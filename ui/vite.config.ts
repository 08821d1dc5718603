// How the page becomes static files: one script, one style sheet, one icon, names that carry a hash of the content.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// `npm run dev` serves the page itself and hands what the page asks for to a running server.
const server = process.env["LATHE_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "inline" },
  build: { target: "es2021", assetsInlineLimit: 0, modulePreload: false, reportCompressedSize: false },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/api", "/metrics", "/tokenize", "/health"].map((path) => [
        path,
        {
          target: server,
          changeOrigin: true,
          // The server refuses pages of other sites, and the dev server is one.
          configure: (proxy) => void proxy.on("proxyReq", (request) => request.removeHeader("origin")),
        },
      ]),
    ),
  },
});
