/** The data of Cola's latent model, beside those of masked diffusion: one document of each row, times, and noise. */
import { allNoised, complementary, coupledTail, drawnTail, type LatentNoising } from "./latentNoising.ts"
import type { ModelConfig } from "../../models/config.ts"
import { colaShape } from "./networks.ts"
import { ramp } from "../shared/latents/ramp.ts"
import { normals, randomKey, uniformAt } from "../../tensor/random.ts"
import type { MicroBatch } from "../../training/objective.ts"
import type { ColaSettings } from "./settings.ts"
import type { DiffusionData } from "../shared/masks/corruptedRows.ts"

/** Standard deviations of signal and noise at a time: of the straight path, or with a signal share of 1 - t^2. */
export const colaPath = (prediction: ColaSettings["colaPrediction"], time: number): readonly [number, number] =>
  prediction === "v" ? [1 - time, time] : [Math.sqrt(1 - time ** 2), time]

/** Adds to the micro-batches of masked diffusion what the latent model reads. */
export const colaData =
  (config: ModelConfig, settings: ColaSettings, data: DiffusionData & { readonly seed: number }) =>
  (step: number, parts: ReadonlyArray<MicroBatch>): ReadonlyArray<MicroBatch> => {
    const { epochs, length, microBatchRows: rows, seed, sequences } = data
    const { diffusion, latents, width } = colaShape(settings, config, length)
    const all = epochs.rows(step)
    if (parts.length * rows !== all.length)
      throw new RangeError(
        "Cola cannot be trained with replay or complementary masks: their batches are not those of the step's rows"
      )
    const noising = (time: number, meanTime: number, row: number): LatentNoising => {
      const key = randomKey(seed, "cola noised latents", step, row)
      switch (settings.colaVariant) {
        case "block_causal":
          return allNoised(latents)
        case "fast_block":
          return complementary(latents, key)
        case "card":
          return settings.colaTail === "drawn"
            ? drawnTail(latents, key)
            : coupledTail(diffusion.globals, diffusion.locals, meanTime, settings.colaLambdaTail)
      }
    }
    const made = parts.map(({ inputs }, m) => {
      const own = all.slice(m * rows, (m + 1) * rows)
      const [ids, targets] = [inputs["ids"] as Int32Array, inputs["targets"] as Int32Array]
      const segmentIds = inputs["segmentIds"] as Int32Array
      const cleanIds = ids.slice()
      for (const [r, row] of own.entries()) {
        cleanIds[r * length] = sequences[row[0]!]![0]!
        cleanIds.set(targets.subarray(r * (length - 1), (r + 1) * (length - 1)), r * length + 1)
      }
      const chosen = longestDocuments(segmentIds, rows, length)
      const masked = inputs["weights"] as Float32Array
      const supervised = masked.map((weight, column) => {
        const [r, i] = [Math.floor(column / (length - 1)), column % (length - 1)]
        return weight > 0 && chosen[r * length + i + 1] === 1 ? 1 : 0
      })
      return { cleanIds, chosen, supervised, own }
    })
    const supervisedInAll = Math.max(
      1,
      made.reduce((total, { supervised }) => total + supervised.reduce((a, b) => a + b, 0), 0)
    )
    return parts.map((part, m) => {
      const { chosen, cleanIds, own, supervised } = made[m]!
      const rowIds = own.map((_, r) => m * rows + r)
      const times = rowIds.map(row => uniformAt(randomKey(seed, "cola time", step, row), 0))
      const meanTime = times.reduce((total, time) => total + time, 0) / rows
      const perRow = rowIds.map((row, r) => noising(times[r]!, meanTime, row).views)
      const views = perRow[0]!.length
      const copies = views * rows
      const noised = new Float32Array(copies * latents)
      const flowWeights = new Float32Array(copies * latents)
      for (let view = 0; view < views; view++)
        for (let r = 0; r < rows; r++) {
          const bits = perRow[r]![view]!
          const count = perRow[r]!.reduce((total, each) => total + each.reduce((a, b) => a + b, 0), 0)
          const at = (view * rows + r) * latents
          noised.set(bits, at)
          flowWeights.set(
            Float32Array.from(bits, bit => bit / (count * all.length)),
            at
          )
        }
      const twice = (values: ReadonlyArray<number>) =>
        Float32Array.from({ length: copies }, (_, i) => values[i % rows]!)
      const noise = (purpose: string, n: number): Float32Array<ArrayBuffer> => {
        const values = new Float32Array(n * latents * width)
        for (let i = 0; i < n; i++)
          values.set(
            normals(randomKey(seed, purpose, step, m * rows + (i % rows), Math.floor(i / rows)), latents * width),
            i * latents * width
          )
        return values
      }
      return {
        ...part,
        inputs: {
          ...part.inputs,
          cleanIds,
          chosen,
          conditioned: Float32Array.from(rowIds, row =>
            uniformAt(randomKey(seed, "cola condition", step, row), 0) < settings.colaConditionDropout ? 0 : 1
          ),
          time: twice(times),
          signal: twice(times.map(time => colaPath(settings.colaPrediction, time)[0])),
          spread: twice(times.map(time => colaPath(settings.colaPrediction, time)[1])),
          flowNoise: noise("cola noise", copies),
          noised,
          flowWeights,
          beta: Float32Array.of(settings.colaBeta * ramp(step, settings.colaBetaWarmupSteps)),
          posteriorNoise: noise("cola posterior", rows),
          rowWeights: new Float32Array(rows).fill(1 / all.length),
          tokenWeights: supervised.map(bit => bit / supervisedInAll)
        }
      }
    })
  }

/** 1 for the tokens of the longest document of each row, the first of equals. */
const longestDocuments = (segmentIds: Int32Array, rows: number, length: number): Float32Array<ArrayBuffer> => {
  const chosen = new Float32Array(rows * length)
  for (let r = 0; r < rows; r++) {
    const row = segmentIds.subarray(r * length, (r + 1) * length)
    const sizes = new Map<number, number>()
    for (const document of row) if (document >= 0) sizes.set(document, (sizes.get(document) ?? 0) + 1)
    const [longest] = [...sizes].reduce((best, each) => (each[1] > best[1] ? each : best), [-1, 0])
    for (const [i, document] of row.entries()) if (document === longest && longest >= 0) chosen[r * length + i] = 1
  }
  return chosen
}
