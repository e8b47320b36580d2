/** What the panels of a masked-diffusion training show, measured on the model as it is. */
import { join } from "node:path"
import { Effect, Schema, type Scope } from "effect"
import type { FileError } from "../../formats/fileError.ts"
import { Count, setting } from "../../config/setting.ts"
import { packedArrays } from "../../tokens/packing.ts"
import { maskedIn, revealStepsOf, type Trajectory } from "./trajectories/trajectory.ts"
import type { Buffers, Engine, EngineError } from "../../engines/Engine.ts"
import type { ModelConfig } from "../../models/config.ts"
import { nextTokenLossData, nextTokenLossInputs, nextTokenLosses } from "../../models/nextTokenLoss.ts"
import { logSumExp } from "../../tensor/composites.ts"
import { exp, max, reshape, sub } from "../../tensor/ops.ts"
import { cleanTensor } from "../../sessions/query.ts"
import { inputsOf, makeSession } from "../../sessions/session.ts"
import { lineFile } from "../../training/log.ts"
import type { Observer } from "../../training/loop.ts"
import type { DiffusionData } from "./masks/corruptedRows.ts"
import { entropyTerms } from "./trajectories/terms.ts"
import { type PanelLine, panelsFile, type Predicted } from "../../training/panelFile.ts"

export const PanelSettings = Schema.Struct({
  /** Steps between two sets of panels (a trajectory, a prediction, the history of losses); 0: none */
  panelEverySteps: setting(Count, 0)
})
export type PanelSettings = typeof PanelSettings.Type

export interface PanelData extends Pick<
  DiffusionData,
  "epochs" | "halves" | "length" | "mask" | "masking" | "pad" | "sequences"
> {
  /** Where masks follow them. */
  readonly trajectories?: ReadonlyMap<number, Trajectory>
}

export const trainingPanels = (
  engine: Engine,
  config: ModelConfig,
  { panelEverySteps }: PanelSettings,
  data: PanelData
): Observer<EngineError | FileError> => ({
  every: panelEverySteps,
  prepare: ({ frozen, parameters }, directory) =>
    Effect.gen(function* () {
      const inspect = yield* makeInspection(engine, config, { ...frozen.views, ...parameters.views }, data)
      const append = lineFile(join(directory, panelsFile))
      return (step: number) =>
        Effect.gen(function* () {
          const examples = data.epochs.rows(step - 1).flat()
          const first = examples[0]!
          const { masked } = data.masking(first, step - 1)
          const seen = yield* inspect(data.sequences[first]!, masked)
          const positions = seen.map(({ right }, i): Predicted => {
            if (i === 0 || masked[i] !== 1) return "not masked"
            return right === 1 ? "right" : "wrong"
          })
          const confidences = seen.map(({ confidence }, i) => (i === 0 ? null : rounded(confidence)))
          const followed = examples.find(example => data.trajectories?.has(example) === true)
          const line: PanelLine = {
            step,
            prediction: { positions, confidences },
            ...(followed === undefined
              ? {}
              : {
                  trajectory: yield* statesAlong(inspect, data.sequences[followed]!, data.trajectories!.get(followed)!)
                })
          }
          yield* append(step, [line])
          return {}
        })
    })
})

/** More digits could not be seen. */
const rounded = (x: number): number => Number(x.toPrecision(5))

/** What a model makes of a token, given those that are not masked. */
export interface Seen {
  /** Of its prediction, nats. */
  readonly entropy: number
  /** 1 where the likeliest token is the right one. */
  readonly right: number
  /** Probability of the likeliest token. */
  readonly confidence: number
}

/** Of each token of a sequence, cut at `length`; the first, which nothing predicts, has zeros. */
export type Inspect = (ids: Int32Array, masked: ArrayLike<number>) => Effect.Effect<ReadonlyArray<Seen>, EngineError>

export const makeInspection = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { halves = false, length, mask, pad }: Pick<PanelData, "halves" | "length" | "mask" | "pad">
): Effect.Effect<Inspect, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const shape = { rows: 1, length }
    const { further } = nextTokenLosses(config, inputsOf(parameters), inputsOf(nextTokenLossInputs(shape)), {
      causal: false,
      checkpointLayers: false,
      clean: halves ? cleanTensor(shape) : undefined,
      further: {
        of: (logits, targets, n) => {
          const { entropies, right } = entropyTerms(logits, targets, 1)
          const peak = max(logits, 1, { keepDims: true })
          return [entropies, right, reshape(exp(sub(peak, logSumExp(logits, 1))), [n])]
        },
        ahead: 0
      }
    })
    const [entropy, right, confidence] = further
    const outputs = { entropy: entropy!, right: right!, confidence: confidence! }
    const { run } = yield* makeSession(engine, outputs, parameters)
    return (ids, masked) => {
      const clean = nextTokenLossData(packedArrays([ids], [[0]], { capacity: length, pad }), shape)
      const size = Math.min(ids.length, length)
      const corrupted = clean.ids.map((id, i) => (i < size && masked[i] === 1 ? mask : id))
      return Effect.map(run({ ...clean, ids: corrupted, ...(halves ? { clean: clean.ids } : {}) }), found =>
        // Token i is predicted at column i - 1.
        Array.from({ length: size }, (_, i): Seen => {
          if (i === 0) return { entropy: 0, right: 0, confidence: 0 }
          return { entropy: found.entropy[i - 1]!, right: found.right[i - 1]!, confidence: found.confidence[i - 1]! }
        })
      )
    }
  })

/** The masks of each step of a trajectory, and the mean entropy of the predictions of what they mask. */
const statesAlong = (inspect: Inspect, ids: Int32Array, trajectory: Trajectory) =>
  Effect.gen(function* () {
    const masked: Array<string> = []
    const entropies: Array<number> = []
    for (let revealStep = 0; revealStep < revealStepsOf(trajectory); revealStep++) {
      const mask = new Uint8Array(ids.length)
      mask.set(
        maskedIn(trajectory, revealStep).subarray(0, ids.length - trajectory.promptLength),
        trajectory.promptLength
      )
      masked.push(mask.join(""))
      const seen = (yield* inspect(ids, mask)).filter((_, i) => i > 0 && mask[i] === 1)
      const total = seen.reduce((sum, { entropy }) => sum + entropy, 0)
      entropies.push(seen.length === 0 ? 0 : rounded(total / seen.length))
    }
    return { masked, entropies }
  })
