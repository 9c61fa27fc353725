import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["switchyard-source"] },
  test: { include: ["{sdk,app}/src/**/*.test.ts"] },
});
