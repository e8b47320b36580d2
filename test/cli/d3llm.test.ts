/** `pipeline run d3llm-27b` on what ships, as a user types it: a little of it. */
import { join } from "node:path"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { expertsConfig, writeTinyModel } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => {
  directory = temporaryDirectory()
})
afterAll(() => directory.remove())

const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, [...words, "--cache", "cache"], {}, 300_000)
const wanted = ["d3llm-27b", "--quick", "--only", "train/trajectories"]

interface Event {
  readonly type: string
  readonly label?: string
}

/** The labels of what was executed. */
const run = (...words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const { code, stderr, stdout } = call("run", ...wanted, "--json", ...words)
  assert.strictEqual(code, 0, stderr)
  const events = stdout
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as Event)
  return events.flatMap(({ label, type }) => (type === "started" ? [label!] : []))
}

const digestsOf = (label: string): ReadonlyArray<string> => {
  const { stdout } = call("show", `d3llm-27b/${label}`, "--json")
  const { outputs } = JSON.parse(stdout) as { readonly outputs: ReadonlyArray<{ readonly digest: string }> }
  return outputs.map(({ digest }) => digest)
}

describe("pipeline run d3llm-27b", () => {
  it(
    "quantises, asks for trajectories, and trains an adapter; another rank trains again and does nothing else anew",
    {
      timeout: 300_000
    },
    () => {
      const first = run()
      const made = ["quantize", "trajectories/scheduled", "train/trajectories"]
      assert.includeMembers([...first], made)
      assert.deepStrictEqual(run(), [])
      const base = digestsOf("quantize")

      const other = run("--set", "train.adapter.r=2")
      assert.includeMembers([...other], ["train/trajectories"])
      assert.notIncludeMembers([...other], ["quantize", "trajectories/scheduled", "tokenize/corpus"])
      assert.deepStrictEqual(digestsOf("quantize"), base)
      const why = call("why", "d3llm-27b/train/trajectories").stdout
      assert.match(why, /adapter\.r/)
    }
  )

  it("does the same to a mixture of experts, whose experts stay dense", { timeout: 300_000 }, async () => {
    const directoryOfModel = join(directory.path, "experts")
    await writeTinyModel(directoryOfModel, expertsConfig({ vocab_size: 2048 }))
    const made = run("--set", `download-model.source=file:${directoryOfModel}`, "--set", "tokenize.maxSeqLen=64")
    assert.includeMembers([...made], ["download-model", "quantize", "trajectories/scheduled", "train/trajectories"])
    const { code, stderr } = call("export", "d3llm-27b/quantize", "--to", "files", "-o", "quantised")
    assert.strictEqual(code, 0, stderr)
    const tensors = await Effect.runPromise(
      openTensors([{ name: "model.safetensors", path: join(directory.path, "quantised", "model.safetensors") }])
    )
    const names = [...tensors.keys()]
    assert.isTrue(names.some(name => name.endsWith("shared_expert.up_proj.weight.absmax")))
    assert.isFalse(names.some(name => name.includes("mlp.experts") && name.endsWith(".absmax")))
  })
})
