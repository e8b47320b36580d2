/** Rows of a small grid, to compare engines by their losses. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect } from "vitest"
import { metricsOfRun } from "../../src/ledger/Series.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadModel } from "../../stages/download.ts"
import { train } from "../../stages/train.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { runPipeline } from "./inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "./tinyCorpus.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

interface Grid {
  /** Of each row, by step. */
  readonly losses: { readonly [row: string]: ReadonlyArray<number> }
  /** What the key of each action was made of, but for the engine and its inputs: those may be what an engine computed. */
  readonly keys: ReadonlyArray<unknown>
  /** Of actions whose results depend on the engine. */
  readonly engines: ReadonlyArray<string>
}

/** A small grid, trained by stages on an engine; works in a directory of the caller's that has a model `tiny`. */
const runGrid = async (directory: string, engine: string): Promise<Grid> => {
  const corpus = writeTexts(
    directory,
    documentTexts(12, i => 2 + (i % 4), "the people of the States ")
  )
  const pipeline = Pipeline.make(
    "rows",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const teacher = downloadModel({ source: `file:${join(directory, "tiny")}` })
      const sequences = tokenizedTexts(corpus, 32)
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
  const actions = cache.database.all<{ label: string; engine: string; code: string; parameters: string }>(
    "SELECT execution.label, action.engine, hex(code.digest) AS code, action.parameters FROM execution JOIN action ON action.id = execution.action JOIN code ON code.id = action.code ORDER BY execution.label"
  )
  cache.database.close()
  return {
    losses: Object.fromEntries(found.map(({ label, points }) => [label, points.map(({ value }) => value!)])),
    keys: actions.map(({ code, label, parameters }) => ({ code, label, parameters })),
    engines: actions.map(action => action.engine).filter(name => name !== "none")
  }
}

/** Expects the losses of an engine to be those of `ort` but for a relative difference, and its keys but for the numeric class. */
export const expectLossesOfOrt = async (directory: string, engine: string, tolerance: number): Promise<void> => {
  const ort = await runGrid(directory, "ort/cpu/f32")
  const other = await runGrid(directory, engine)
  expect(other.keys).toEqual(ort.keys)
  expect([new Set(ort.engines), new Set(other.engines)]).toEqual([new Set(["ort/cpu/f32"]), new Set([engine])])
  expect(other.engines).toHaveLength(ort.engines.length)
  const [expected, actual] = [ort.losses, other.losses]
  expect(Object.keys(actual)).toEqual(["train/random", "train/checkpointed", "train/aligned", "train/trajectory"])
  for (const [row, losses] of Object.entries(expected)) {
    expect(losses).toHaveLength(12)
    expect(new Set(losses).size).toBe(12)
    for (const [i, loss] of losses.entries())
      expect(Math.abs(actual[row]![i]! / loss - 1), `${row}, step ${i + 1}`).toBeLessThan(tolerance)
  }
}
