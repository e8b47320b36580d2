/** What the trainings of bench/gpu minimise, on data that are made up. */
import { Schema } from "effect"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { AlignmentSettings } from "../../src/methods/shared/alignment/settings.ts"
import { randomMasking } from "../../src/methods/shared/masks/corruption.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import type { ModelConfig } from "../../src/models/config.ts"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { withDropout } from "../../src/training/dropout.ts"
import type { Objective } from "../../src/training/objective.ts"
import type { Task, TrainingTask } from "./measured.ts"

const seed = 1

/** Under an adapter masked diffusion, as the stage `train` has it by default, with the live base as the teacher where it is aligned; else the prediction of the next token. */
export const objectiveOf = (
  config: ModelConfig,
  { adapter, decode: { mask } }: Pick<Task, "adapter" | "decode">,
  { alignedLayers, length, rows }: TrainingTask
): Objective<never> => {
  const sequences = Array.from({ length: 8 * rows }, (_, s) =>
    Int32Array.from({ length }, (_token, i) => (s * 7919 + i * 104_729) % mask)
  )
  const data = {
    sequences,
    epochs: makeEpochs(
      sequences.map(() => length),
      { seed, capacity: length, rowsPerStep: rows }
    ),
    microBatchRows: rows,
    length,
    pad: 0,
    averaging: "tokens"
  } as const
  if (adapter === undefined) return causalObjective(config, data)
  const settings = defaultsOf(DiffusionSettings, {})
  const maskable = new Uint8Array(length).fill(1)
  const masking = randomMasking(
    sequences.map(() => ({ lossMask: maskable })),
    settings,
    seed
  )
  const teacher =
    alignedLayers === undefined
      ? undefined
      : {
          settings: defaultsOf(AlignmentSettings, {
            reprAlignWt: 1,
            alignLayers: evenly(config.layers.length, alignedLayers)
          }),
          steps: 1000,
          seed
        }
  const objective = diffusionObjective(config, settings, { ...data, mask, masking }, teacher)
  return adapter.dropout > 0 ? withDropout(objective, seed) : objective
}

/** So many of the layers, the last among them. */
const evenly = (layers: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, i) => Math.round(((i + 1) * layers) / count))

const defaultsOf = <S extends Schema.Codec<unknown, object>>(schema: S, given: S["Encoded"]): S["Type"] =>
  Schema.decodeSync(schema)(given)
