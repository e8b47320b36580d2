import * as fc from "fast-check"
import { execFileSync } from "node:child_process"
import { assert, describe, it } from "vitest"
import { asTyped, typed } from "../../src/cli/typed.ts"

const plain = { words: ["run", "compare-50x"], npmCommand: undefined }

describe("commands that messages tell people to type", () => {
  it("are as they stand, where the program is found by its name and the cache is the usual one", () => {
    assert.strictEqual(typed("pipeline why compare-50x", plain), "pipeline why compare-50x")
  })

  it("begin with npx where npx started the program", () => {
    assert.strictEqual(typed("pipeline why a", { ...plain, npmCommand: "exec" }), "npx pipeline why a")
    assert.strictEqual(typed("pipeline why a", { ...plain, npmCommand: "run-script" }), "pipeline why a")
  })

  it("name the cache that was named, for verbs that look at one, and not twice", () => {
    for (const given of [["--cache", "elsewhere"], ["--cache=elsewhere"]]) {
      const started = { ...plain, words: ["run", "compare-50x", ...given] }
      assert.strictEqual(typed("pipeline status", started), "pipeline status --cache elsewhere")
      assert.strictEqual(typed("pipeline list --assets", started), "pipeline list --assets")
      assert.strictEqual(typed("pipeline show a --cache other", started), "pipeline show a --cache other")
    }
  })

  it("name it so that a shell reads it back", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "grapheme" }), directory => {
        fc.pre(!/[\0\uD800-\uDFFF]/.test(directory))
        const command = typed("pipeline status", { ...plain, words: ["run", "--cache", directory] })
        const read = execFileSync("sh", [
          "-c",
          `for word in ${command.replace("pipeline", "")}; do printf '%s\\0' "$word"; done`
        ])
        assert.deepStrictEqual(read.toString("utf8").split("\0").slice(0, -1), ["status", "--cache", directory])
      }),
      { numRuns: 30 }
    )
  })

  it("stand between backticks in a text; all else stays", () => {
    const started = { words: ["runs", "--cache", "my cache"], npmCommand: "exec" }
    assert.strictEqual(
      asTyped("see `pipeline show 3f9a12`, or `--apply`; a stopped `pipeline` process; pipeline x", started),
      "see `npx pipeline show 3f9a12 --cache 'my cache'`, or `--apply`; a stopped `pipeline` process; pipeline x"
    )
  })
})
