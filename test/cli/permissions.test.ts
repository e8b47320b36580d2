/** `pipeline doctor` on caches that others may write. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { permissions } from "../../src/cli/verbs/checks/permissions.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const texts = async (): Promise<ReadonlyArray<string>> => {
  const location = { root: join(directory.path, "cache"), layers: [join(directory.path, "assets")] }
  const found = await Effect.runPromise(permissions.run({ location, environment: {} }))
  return found.filter(({ severity }) => severity === "warning").map(({ text }) => text)
}

describe("pipeline doctor", () => {
  it("names each place of the cache, of its layers and above that others may write", async () => {
    const path = (...parts: ReadonlyArray<string>) => join(directory.path, ...parts)
    mkdirSync(path("cache", "objects"), { recursive: true })
    mkdirSync(path("assets"))
    writeFileSync(path("cache", "ledger.db"), "")
    writeFileSync(path("assets", "index.json"), "{}")
    assert.deepStrictEqual(await texts(), [])
    for (const place of ["", "cache", "cache/objects", "cache/ledger.db", "assets", "assets/index.json"]) {
      chmodSync(path(place), 0o777)
      const found = await texts()
      assert.lengthOf(found, 1, place)
      assert.match(found[0]!, /may be written by everybody/)
      chmodSync(path(place), 0o755)
    }
    // Everybody may make files there, but not replace ours.
    chmodSync(directory.path, 0o1777)
    assert.deepStrictEqual(await texts(), [])
  })
})
