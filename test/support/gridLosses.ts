/** Rows of a small grid, to compare engines by their losses. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect } from "vitest"
import { metricsOfRun } from "../../src/ledger/Series.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { train } from "../../stages/train.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { runPipeline } from "./inProcess.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

/** Losses of each row of a small grid, by step, trained by stages on an engine; works in a directory of the caller's that has a model `tiny`. */
const gridLosses = async (
  directory: string,
  engine: string
): Promise<{ readonly [row: string]: ReadonlyArray<number> }> => {
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

/** Expects the losses of an engine to be those of `ort`, as far as a relative difference. */
export const expectLossesOfOrt = async (directory: string, engine: string, tolerance: number): Promise<void> => {
  const expected = await gridLosses(directory, "ort/cpu/f32")
  const actual = await gridLosses(directory, engine)
  expect(Object.keys(actual)).toEqual(["train/random", "train/checkpointed", "train/aligned", "train/trajectory"])
  for (const [row, losses] of Object.entries(expected)) {
    expect(losses).toHaveLength(12)
    expect(new Set(losses).size).toBe(12)
    for (const [i, loss] of losses.entries())
      expect(Math.abs(actual[row]![i]! / loss - 1), `${row}, step ${i + 1}`).toBeLessThan(tolerance)
  }
}
