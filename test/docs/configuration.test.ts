/** The page on configuration says what the schema says. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, it } from "vitest"
import { configurationPage } from "../../scripts/docs/configuration.ts"

it("docs/configuration.md is made from the schema; run node scripts/docs/configuration.ts after a change", () => {
  const path = fileURLToPath(new URL("../../docs/configuration.md", import.meta.url))
  assert.strictEqual(readFileSync(path, "utf8"), configurationPage())
})
