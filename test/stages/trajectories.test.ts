/** Trajectories, and trainings whose masks follow them, as stages. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import type { orderModes } from "../../src/methods/shared/trajectories/trajectory.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadModel } from "../../stages/download.ts"
import { train } from "../../stages/train.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

type Mode = (typeof orderModes)[number]

interface Options {
  readonly documents?: number
  readonly mode?: Mode
  /** Mode of the training, if there is one. */
  readonly train?: Mode | "none"
  readonly cache?: string
}

const run = ({ cache = "cache", documents = 5, mode = "scheduled", train: trained }: Options = {}) => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(documents, i => 1 + i, "the people of the ")
  )
  const pipeline = Pipeline.make(
    "trajectories-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const teacher = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const sequences = tokenizedTexts(corpus, 24)
      const orders = trajectories({ teacher, sequences, mode, numSteps: 4 })
      if (trained === undefined) return orders
      return train({
        base: teacher,
        sequences,
        heldOut: sequences,
        trajectories: orders,
        trajectory_mode: trained,
        num_train_epochs: 100,
        max_steps: 3,
        global_batch_size: 2,
        lr: 0.01,
        eval_every: 1000,
        eval_draws: 2
      }).model
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, cache),
    layers: [assets],
    engine: numericClass("ort")
  })
}

interface Metadata {
  readonly trajectories: number
  readonly skipped: number
  readonly tokens: number
  readonly forwards: number
}

describe("the stage trajectories", () => {
  it("asks the model about each sequence once; of a document more only about that", async () => {
    const first = await run()
    assert.deepStrictEqual(first.failures, [])
    const all = first.metric("trajectories", "trajectories/new")!
    assert.isAbove(all, 4)
    assert.include(first.manifest("trajectories").metadata as object, {
      mode: "scheduled",
      trajectories: all,
      maskId: tinyConfig.vocabSize - 1
    })
    const more = await run({ documents: 6 })
    assert.isAtLeast(more.metric("trajectories", "trajectories/reused")!, all - 1)
    assert.isAbove(more.metric("trajectories", "trajectories/new")!, 0)
  })

  it("has four modes; two of them ask no model", async () => {
    for (const mode of ["entropy", "lr", "random"] as const) {
      const ran = await run({ mode })
      assert.deepStrictEqual(ran.failures, [])
      const { forwards, tokens, trajectories: count } = ran.manifest("trajectories").metadata as unknown as Metadata
      assert.isAbove(count, 4)
      assert.isAbove(tokens, count)
      assert.strictEqual(forwards > 0, mode === "entropy", mode)
    }
  })
})

describe("a training along trajectories", () => {
  it("is another one than with masks by chance, or along random orders", async () => {
    const weights = async (options: Options) => {
      const ran = await run(options)
      assert.deepStrictEqual(ran.failures, [])
      return ran.manifest("train").files.find(({ path }) => path === "model.safetensors")!.sha256
    }
    const digests = [
      await weights({ train: "none" }),
      await weights({ train: "scheduled" }),
      await weights({ mode: "random", train: "random" })
    ]
    assert.strictEqual(new Set(digests).size, 3)
  })

  it("refuses trajectories of another kind", async () => {
    const other = await run({ mode: "lr", train: "scheduled" })
    assert.match(other.failures[0]!.message, /trajectory_mode is scheduled, but the trajectories are of mode lr/)
  })
})
