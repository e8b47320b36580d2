/**
 * LDLM: latents and their diffusion model are learnt together (arXiv:2605.07933). L = L_diff + L_h + L_w: the denoiser's error, the error of the
 * states that are decoded from noised latents, and the cross-entropy of the tokens. Beside it stand the ways in which the seed departs from the paper, as settings.
 */
import { Effect } from "effect"
import type { Epochs } from "../../tokens/epochs.ts"
import { learntIn, type Window, windowArrays } from "../../tokens/windows.ts"
import { emptyBins, observed, refreshed, type TimeBins, timeAt } from "./adaptiveTimes.ts"
import { alphaBar } from "./noiseSchedule.ts"
import { ramp } from "../shared/latents/ramp.ts"
import { warmUpGamma } from "./warmUp.ts"
import type { ModelConfig } from "../../models/config.ts"
import { cleanStates, rowInputs } from "../shared/latents/cleanStates.ts"
import { ldlm, ldlmShape } from "./networks.ts"
import {
  faded,
  merged,
  mergedStatistics,
  normalised,
  type Scales,
  type Statistics,
  statisticsOf
} from "./statistics.ts"
import { chunkedCrossEntropy } from "../../models/decoder.ts"
import { mean, square, zeros } from "../../tensor/composites.ts"
import {
  add,
  cast,
  equal,
  lessEqual,
  constant,
  mul,
  reshape,
  sliceAxis,
  stopGradient,
  sub,
  sum
} from "../../tensor/ops.ts"
import { normals, randomKey, uniformAt } from "../../tensor/random.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Objective, ObjectiveState } from "../../training/objective.ts"
import type { LdlmSettings } from "./settings.ts"

export interface LdlmData {
  readonly sequences: ReadonlyArray<{ readonly ids: Int32Array; readonly lossMask: ArrayLike<number> }>
  readonly windows: ReadonlyArray<Window>
  /** Of windows, one a row. */
  readonly epochs: Epochs
  readonly microBatchRows: number
  readonly pad: number
  readonly seed: number
}

const names = { sums: "times/sums", weights: "times/weights", probabilities: "times/probabilities" } as const
const statisticsNames = { states: "states/statistics", latents: "latents/statistics" } as const

/** How much of the latents' statistics stays when a step comes in: they grow, and just their scale of late is of use. */
const latentsDecay = 0.9

/** The running statistics of states and latents: what the trained networks need to know of them. */
export const scalesIn = (state: ObjectiveState): Scales => {
  const of = (name: string): Statistics => {
    const [tokens, average, meanSquare] = state[name] ?? [0, 0, 0]
    return [tokens!, average!, meanSquare!]
  }
  return { states: of(statisticsNames.states), latents: of(statisticsNames.latents) }
}

const binsIn = (state: ObjectiveState): TimeBins => ({
  sums: state[names.sums]!,
  weights: state[names.weights]!,
  probabilities: state[names.probabilities]!
})
const stateOf = (bins: TimeBins, { latents, states }: Scales): ObjectiveState => ({
  [names.sums]: bins.sums,
  [names.weights]: bins.weights,
  [names.probabilities]: bins.probabilities,
  [statisticsNames.states]: states,
  [statisticsNames.latents]: latents
})

export const ldlmObjective = (config: ModelConfig, settings: LdlmSettings, data: LdlmData): Objective<never> => {
  const { epochs, microBatchRows: rows, pad, seed, sequences, windows } = data
  const { promptLength: prompt, seqLen: length } = settings
  const { latents, stateLayer, width } = ldlmShape(settings, config)
  const noiseShape = [rows, latents, width] as const
  const windowsOfStep = (step: number): ReadonlyArray<number> => epochs.rows(step).map(row => row[0]!)
  const uniform = (purpose: string, step: number, window: number): number =>
    uniformAt(randomKey(seed, purpose, step, window), 0)
  const timesOf = (state: ObjectiveState, step: number): ReadonlyArray<number> =>
    windowsOfStep(step).map(window => timeAt(binsIn(state), uniform("ldlm time", step, window)))

  return {
    inputs: {
      ...rowInputs([rows, prompt + length]),
      /** Share of each token of the pieces in the means of the step; 0 for padding. */
      weights: { dtype: "f32", shape: [rows, length] },
      rowWeights: { dtype: "f32", shape: [rows] },
      /** The running statistics of states and latents, before the step. */
      stateStatistics: { dtype: "f32", shape: [3] },
      ...(settings.scaledLatents ? { latentStatistics: { dtype: "f32", shape: [3] } as const } : {}),
      time: { dtype: "f32", shape: [rows] },
      /** Standard deviations of signal and noise. */
      signal: { dtype: "f32", shape: [rows] },
      spread: { dtype: "f32", shape: [rows] },
      noise: { dtype: "f32", shape: noiseShape },
      decoderNoise: { dtype: "f32", shape: noiseShape },
      gamma: { dtype: "f32", shape: [] },
      ...(settings.selfConditioning ? { selfCondition: { dtype: "f32", shape: [rows] } as const } : {}),
      ...(prompt > 0 ? { promptSeen: { dtype: "f32", shape: [rows] } as const } : {})
    },
    losses: (parameter, input) => {
      const networks = ldlm(settings, config, parameter)
      const states = cleanStates(config, parameter, input, { causal: true, layer: stateLayer })
      const there = lessEqual(constant(0, "i32"), input("segmentIds")) // [B, P + L]
      const own = statisticsOf(states, cast(there, "f32"))
      const scaled = stopGradient(normalised(states, merged(input("stateStatistics"), own)))
      const target = sliceAxis(scaled, 1, prompt, prompt + length) // [B, L, d]
      const seen = sliceAxis(there, 1, prompt, prompt + length)
      const perRow = (x: Tensor): Tensor => reshape(x, [rows, 1, 1])

      const clean = networks.encode(target, seen) // [B, n, w]
      const decoded = networks.decode(add(clean, input("decoderNoise"))) // [B, L, d]
      const states2 = mean(square(sub(decoded, target)), 2) // [B, L]
      const { bias, weight } = networks.head()
      const ids = reshape(sliceAxis(input("ids"), 1, prompt, prompt + length), [rows * length])
      const tokens = chunkedCrossEntropy(networks.tokens(decoded), weight, ids, { bias })

      const reached =
        settings.warmupScales === "encoder"
          ? add(mul(clean, input("gamma")), mul(stopGradient(clean), sub(1, input("gamma"))))
          : clean
      const ofLatents = statisticsOf(stopGradient(clean), constant(1, "f32", [rows, latents]))
      const diffused = settings.scaledLatents
        ? normalised(reached, merged(input("latentStatistics"), ofLatents))
        : reached
      const noised = add(mul(diffused, perRow(input("signal"))), mul(input("noise"), perRow(input("spread"))))
      const asked =
        prompt === 0
          ? undefined
          : {
              states: sliceAxis(scaled, 1, 0, prompt),
              seen: equal(
                mul(cast(sliceAxis(there, 1, 0, prompt), "f32"), reshape(input("promptSeen"), [rows, 1])),
                constant(1, "f32")
              )
            }
      const predict = (earlier: Tensor): Tensor => networks.denoise(noised, input("time"), earlier, asked)
      const nothing = zeros("f32", noiseShape)
      const predicted = settings.selfConditioning
        ? predict(mul(stopGradient(predict(nothing)), perRow(input("selfCondition"))))
        : predict(nothing)
      const perSample = mean(square(sub(predicted, diffused)), [1, 2]) // [B]
      const plain = sum(mul(perSample, input("rowWeights")))
      const diffusion = settings.warmupScales === "loss" ? mul(plain, input("gamma")) : plain
      const stateError = sum(mul(states2, input("weights")))
      const crossEntropy = sum(mul(reshape(tokens, [rows, length]), input("weights")))
      return {
        loss: add(add(diffusion, stateError), crossEntropy),
        ldlm_diff: plain,
        ldlm_h: stateError,
        ldlm_w: crossEntropy,
        perSample,
        stateStatistics: own,
        latentStatistics: ofLatents
      }
    },
    objectiveState: {
      initial: stateOf(emptyBins(settings.adaptiveBins), scalesIn({})),
      next: (state, step, observations) => {
        const losses = observations.flatMap(({ perSample }) => [...perSample!])
        const average = losses.reduce((total, loss) => total + loss, 0) / losses.length
        const told = timesOf(state, step).map((time, i) => ({
          time,
          loss: settings.adaptiveLosses === "sample" ? losses[i]! : average
        }))
        const bins = observed(binsIn(state), told, settings.adaptiveDecay)
        const before = scalesIn(state)
        const of = (name: string) =>
          observations.map(({ [name]: found }): Statistics => [found![0]!, found![1]!, found![2]!])
        const due = (step + 1) % settings.adaptiveRefresh === 0
        return stateOf(due ? refreshed(bins) : bins, {
          states: mergedStatistics([before.states, ...of("stateStatistics")]),
          latents: mergedStatistics([faded(before.latents, latentsDecay), ...of("latentStatistics")])
        })
      }
    },
    microBatches: (step, state) =>
      Effect.sync(() => {
        if (state === undefined) throw new Error("LDLM's data depend on its state")
        const all = windowsOfStep(step)
        const times = timesOf(state, step)
        const counted = all.map(window => {
          const { sequence, size, start } = windows[window]!
          return Float32Array.from({ length }, (_, i) =>
            i < size && sequences[sequence]!.lossMask[start + i] === 1 ? 1 : 0
          )
        })
        const total = Math.max(
          1,
          counted.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0)
        )
        const ids = sequences.map(sequence => sequence.ids)
        return Array.from({ length: all.length / rows }, (_, m) => {
          const batch = all.slice(m * rows, (m + 1) * rows)
          const chosen = batch.map(window => windows[window]!)
          const at = times.slice(m * rows, (m + 1) * rows)
          const shares = at.map(time => alphaBar(settings.noiseSchedule, settings.tangentD, time))
          const flags = (purpose: string, probability: number): Float32Array<ArrayBuffer> =>
            Float32Array.from(batch, window => (uniform(purpose, step, window) < probability ? 1 : 0))
          const noise = (purpose: string, deviation: number): Float32Array<ArrayBuffer> => {
            const values = new Float32Array(rows * latents * width)
            for (const [row, window] of batch.entries())
              values.set(
                normals(randomKey(seed, purpose, step, window), latents * width).map(x => x * deviation),
                row * latents * width
              )
            return values
          }
          return {
            inputs: {
              ...windowArrays(ids, chosen, { length, prompt, pad }),
              weights: Float32Array.from(
                counted.slice(m * rows, (m + 1) * rows).flatMap(row => [...row]),
                weight => weight / total
              ),
              rowWeights: new Float32Array(rows).fill(1 / all.length),
              stateStatistics: Float32Array.from(scalesIn(state).states),
              latentStatistics: Float32Array.from(scalesIn(state).latents),
              time: Float32Array.from(at),
              signal: Float32Array.from(shares, Math.sqrt),
              spread: Float32Array.from(shares, share => Math.sqrt(1 - share)),
              noise: noise("ldlm noise", 1),
              decoderNoise: noise(
                "ldlm decoder noise",
                settings.decoderNoiseStd * ramp(step, settings.decoderNoiseWarmupSteps)
              ),
              gamma: Float32Array.of(warmUpGamma(step, settings.warmupSteps, settings.warmupGammaMin)),
              selfCondition: flags("ldlm self-conditioning", settings.selfConditionProb),
              promptSeen: flags("ldlm prompt", 1 - settings.promptDropout)
            },
            tokens: chosen.reduce((sum, { size }) => sum + size, 0),
            labelled: chosen.reduce((sum, window) => sum + learntIn(window, sequences), 0)
          }
        })
      })
  }
}
