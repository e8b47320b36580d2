/** Rows of the grid trained by stages on the engine `torch`, as on `ort`. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, expect, it } from "vitest"
import { pythonVariable } from "../../src/engines/torch/python.ts"
import { metricsOfRun } from "../../src/ledger/Series.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { train } from "../../stages/train.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { runPipeline } from "../support/inProcess.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { interpreterVariable } from "./python.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))
process.env[pythonVariable] = process.env[interpreterVariable]!
process.env["PIPELINE_TORCH_DEVICE"] = "cpu"

let directory: string
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "interop-stages-"))
  await writeTinyModel(join(directory, "tiny"))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Losses of each row of a small grid, by step. */
const lossesOn = async (engine: string): Promise<{ readonly [row: string]: ReadonlyArray<number> }> => {
  const corpus = join(directory, "texts.jsonl")
  const texts = Array.from(
    { length: 12 },
    (_, i) => `Document ${i}: ${"the people of the States ".repeat(2 + (i % 4))}`
  )
  writeFileSync(corpus, texts.map(text => `${JSON.stringify({ text })}\n`).join(""))
  const pipeline = Pipeline.make(
    "rows",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const teacher = downloadModel({ source: `file:${join(directory, "tiny")}` })
      const sequences = tokenize({
        corpus: downloadDocuments({ source: `file:${corpus}` }),
        tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
        maxSeqLen: 32
      })
      const row = (name: string, more: object) =>
        train({
          name,
          base: teacher,
          sequences,
          heldOut: sequences,
          num_train_epochs: 40,
          max_steps: 12,
          global_batch_size: 4,
          micro_batch_size: 2,
          lr: 0.003,
          eval_every: 1000,
          eval_draws: 2,
          ...more
        }).model
      return {
        random: row("random", {}),
        checkpointed: row("checkpointed", { enable_gradient_checkpointing: true }),
        aligned: row("aligned", { repr_align_wt: 1, anchors: anchor({ teacher, sequences, layers: "all" }) }),
        trajectory: row("trajectory", {
          trajectory_mode: "lr",
          trajectories: trajectories({ teacher, sequences, mode: "lr" })
        })
      }
    }
  )
  const root = join(directory, engine.replaceAll("/", "-"))
  const ran = await runPipeline(pipeline, { cache: root, layers: [assets], engine })
  expect(ran.failures).toEqual([])
  const cache = Cache.open({ root, layers: [assets] })
  const [run] = cache.database.all<{ id: number }>("SELECT id FROM run")
  const found = metricsOfRun(cache.database, run!.id as never, "training/loss")
  cache.database.close()
  return Object.fromEntries(found.map(({ label, points }) => [label, points.map(({ value }) => value!)]))
}

const tolerance = 2e-4

it("rows come to the losses of ort within 2e-4", { timeout: 600_000 }, async () => {
  const expected = await lossesOn("ort/cpu/f32")
  const actual = await lossesOn("torch/cpu/f32")
  expect(Object.keys(actual)).toEqual(["train/random", "train/checkpointed", "train/aligned", "train/trajectory"])
  for (const [row, losses] of Object.entries(expected)) {
    expect(losses).toHaveLength(12)
    expect(new Set(losses).size).toBe(12)
    for (const [i, loss] of losses.entries())
      expect(Math.abs(actual[row]![i]! / loss - 1), `${row}, step ${i + 1}`).toBeLessThan(tolerance)
  }
})
