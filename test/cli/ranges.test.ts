/** Numbers on the command line that mean nothing are wrong usage: said at once, with code 2, and nothing is made. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"
import { program } from "../support/program.ts"

describe("a number below what makes sense", () => {
  for (const words of [
    ["run", "compare-50x", "--jobs", "0"],
    ["run", "compare-50x", "--jobs=-2"],
    ["gc", "--keep-runs=-1"],
    ["query", "SELECT 1", "--timeout", "0"]
  ])
    it(`is refused: ${words.join(" ")}`, async () => {
      const directory = temporaryDirectory()
      onTestFinished(directory.remove)
      const { code, stderr } = await program(words, { cwd: directory.path })
      assert.strictEqual(code, 2)
      assert.match(stderr, /at least [01], got (-\d|0)/)
      assert.isFalse(existsSync(join(directory.path, "cache")))
    })
})

describe("settings that decide what is wired to what", () => {
  it("are followed by plan as by run", async () => {
    const directory = temporaryDirectory()
    onTestFinished(directory.remove)
    const planned = async (...set: ReadonlyArray<string>) => {
      const words = [
        "plan",
        "compare-50x",
        "--json",
        "--only",
        "train/no_align",
        ...set.flatMap(each => ["--set", each])
      ]
      const { code, stderr, stdout } = await program(words, { cwd: directory.path })
      assert.strictEqual(code, 0, stderr)
      return stdout
    }
    assert.notMatch(await planned(), /"trajectories\/|"anchor"/)
    const set = await planned("train/no_align.trajectory_mode=scheduled", "train/no_align.repr_align_wt=1")
    assert.match(set, /"trajectories\/scheduled"/)
    assert.match(set, /"anchor"/)
  })
})
