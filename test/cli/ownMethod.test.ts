/** A method of a user's own, in files outside of the repository: the example of CONTRIBUTING.md, as it stands there. */
import { appendFileSync, cpSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { rows } from "../../pipelines/rows.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => {
  directory = temporaryDirectory()
  cpSync(fileURLToPath(new URL("../../docs/examples/focal", import.meta.url)), directory.path, { recursive: true })
})
afterAll(() => directory.remove())

const call = (verb: string, ...words: ReadonlyArray<string>) =>
  pipeline(directory.path, [verb, "./grid.ts", "--quick", ...words, "--cache", "cache"], {}, 600_000)

/** What planning says of each stage, by its label. */
const planned = (): ReadonlyMap<string, string> => {
  const { nodes } = JSON.parse(call("plan", "--json").stdout) as {
    readonly nodes: ReadonlyArray<{ readonly label: string; readonly outcome: string }>
  }
  return new Map(nodes.map(({ label, outcome }) => [label, outcome]))
}

describe("an eighth row", () => {
  it("is trained, measured and found again; what it takes is its own", { timeout: 600_000 }, () => {
    const own = ["--only", "train-focal/focal", "--only", "evaluate-likelihood/focal"]
    const first = call("run", ...own)
    assert.strictEqual(first.code, 0, first.stderr)
    assert.match(first.stderr, /train-focal\/focal/)
    assert.match(call("run", ...own).stderr, /0 executed/)
    const { stdout } = pipeline(directory.path, [
      "metrics",
      "grid-with-focal/train-focal/focal",
      "--json",
      "--cache",
      "cache"
    ])
    const metrics = JSON.parse(stdout) as ReadonlyArray<{ readonly name: string; readonly value: number }>
    const valueOf = (wanted: string) => metrics.find(({ name }) => name === wanted)!.value
    // Each token's loss is multiplied with a share below 1.
    assert.isBelow(valueOf("training/loss"), valueOf("losses/mdm"))
    assert.isBelow(valueOf("eval/nll_bound"), Math.log(2048) + 1)
  })

  it("stands beside the rows of the grid, whose keys do not hold its code", { timeout: 600_000 }, () => {
    const before = planned()
    const trainings = [...before.keys()].filter(label => label.startsWith("train"))
    assert.includeMembers(trainings, ["train-focal/focal", ...rows.map(({ name }) => `train/${name}`)])
    assert.strictEqual(before.get("train-focal/focal"), "hit")
    appendFileSync(join(directory.path, "focal.ts"), "console.log(1)\n")
    const after = planned()
    assert.strictEqual(after.get("train-focal/focal"), "run")
    assert.strictEqual(after.get("tokenize/corpus"), "hit")
  })

  it("says where a field that it does not know stands", { timeout: 600_000 }, () => {
    const file = join(directory.path, "focal.yaml")
    writeFileSync(file, readFileSync(file, "utf8").replace("gamma: 2", "gama: 2"))
    const { code, stderr } = call("plan")
    assert.strictEqual(code, 2)
    assert.match(stderr, /focal\.yaml:\d+:3: train-focal\/focal\.gama is not known[^]*did you mean gamma\?/)
  })
})
