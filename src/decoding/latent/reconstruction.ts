/** How much of a text survives in latents: encoded and decoded again, without noise and without diffusion. */
import { Effect, type Scope } from "effect"
import { type Window, windowArrays } from "../../data/windows.ts"
import type { Buffers, Engine, EngineError } from "../../engines/Engine.ts"
import { inputsOf, parameterInputs, prepare } from "../../engines/prepared.ts"
import type { ModelConfig } from "../../models/config.ts"
import { cleanStates, rowInputs } from "../../models/latent/cleanStates.ts"
import { cola, type ColaArchitecture } from "../../models/latent/cola.ts"
import { ldlm, type LdlmArchitecture } from "../../models/latent/ldlm.ts"
import { normalised, type Statistics } from "../../models/latent/statistics.ts"
import { chunkedOfLogits, forward, weightsOf } from "../../models/qwen.ts"
import { softmaxCrossEntropy } from "../../tensor/composites.ts"
import {
  add,
  argmax,
  cast,
  constant,
  equal,
  input,
  lessEqual,
  reshape,
  rmsNorm,
  select,
  sliceAxis
} from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"

export interface Reconstruction {
  /** Mean cross-entropy, nats per token. */
  readonly loss: number
  /** Share of tokens of which the likeliest is the right one. */
  readonly accuracy: number
  readonly tokens: number
}

/** Cross-entropy of each row of hidden states, and 1 where the likeliest token is the target. */
const judged = (hidden: Tensor, head: Tensor, targets: Tensor, bias?: Tensor) => {
  const [losses, right] = chunkedOfLogits(hidden, head, targets, (rows, own) => {
    const logits = bias === undefined ? rows : add(rows, bias)
    return [softmaxCrossEntropy(logits, own), cast(equal(cast(argmax(logits, 1), "i32"), own), "f32")]
  })
  return { losses: losses!, right: right! }
}

/** Sums over the places that count. */
const total = (
  results: ReadonlyArray<{
    readonly losses: Float32Array
    readonly right: Float32Array
    readonly counts: ArrayLike<number>
  }>
): Reconstruction => {
  let [loss, right, tokens] = [0, 0, 0]
  for (const each of results)
    for (let i = 0; i < each.losses.length; i++) {
      if (each.counts[i] !== 1) continue
      loss += each.losses[i]!
      right += each.right[i]!
      tokens++
    }
  return { loss: loss / tokens, accuracy: right / tokens, tokens }
}

interface Shape {
  readonly rows: number
  readonly pad: number
}

/** Of LDLM: pieces of text, each encoded alone and decoded by the token decoder. */
export const ldlmReconstruction = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  architecture: LdlmArchitecture,
  { pad, rows }: Shape
): Effect.Effect<
  (
    sequences: ReadonlyArray<Int32Array>,
    windows: ReadonlyArray<Window>,
    statistics: Statistics
  ) => Effect.Effect<Reconstruction, EngineError>,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const { promptLength: prompt, seqLen: length } = architecture
    const parameter = parameterInputs(parameters)
    const networks = ldlm(architecture, config, parameter)
    const asked = inputsOf(name => rowInputs([rows, prompt + length])[name as "ids"])
    const states = cleanStates(config, parameter, asked, { causal: true, layer: networks.shape.stateLayer })
    const piece = (x: Tensor): Tensor => sliceAxis(x, 1, prompt, prompt + length)
    const seen = piece(lessEqual(constant(0, "i32"), asked("documents")))
    const clean = networks.encode(piece(normalised(states, input("statistics", "f32", [3]))), seen)
    const { bias, weight } = networks.head()
    const targets = reshape(piece(asked("ids")), [rows * length])
    const { run } = yield* prepare(
      engine,
      judged(networks.tokens(networks.decode(clean)), weight, targets, bias),
      parameters
    )
    return (sequences, windows, statistics) =>
      Effect.gen(function* () {
        const results: Array<Parameters<typeof total>[0][number]> = []
        for (let start = 0; start < windows.length; start += rows) {
          const some = windows.slice(start, start + rows)
          const filled = Array.from({ length: rows }, (_, r) => some[r] ?? some[0]!)
          const arrays = windowArrays(sequences, filled, { prompt, length, pad })
          const { losses, right } = yield* run({ ...arrays, statistics: Float32Array.from(statistics) })
          const counts = Float32Array.from({ length: rows * length }, (_, i) =>
            Math.floor(i / length) < some.length && i % length < filled[Math.floor(i / length)]!.size ? 1 : 0
          )
          results.push({ losses: losses!, right: right!, counts })
        }
        return total(results)
      })
  })

/** Of Cola: texts of which only the first token is visible, told by the mean of their latents. */
export const colaReconstruction = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  architecture: ColaArchitecture,
  { length, mask, pad, rows }: Shape & { readonly length: number; readonly mask: number }
): Effect.Effect<
  (sequences: ReadonlyArray<Int32Array>) => Effect.Effect<Reconstruction, EngineError>,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const parameter = parameterInputs(parameters)
    const networks = cola(architecture, config, parameter, length)
    const weights = weightsOf(config, parameter)
    const asked = inputsOf(name => rowInputs([rows, length])[name as "ids"])
    const documents = asked("documents")
    const positions = asked("positions")
    const context = { causal: false, documents, positions }
    const seen = lessEqual(constant(0, "i32"), documents)
    const clean = forward(config, weights, asked("ids"), context).states[networks.shape.stateLayer]!
    const { mean } = networks.distribution(networks.encode(clean, { seen, at: positions }))
    // The first token stays, and all others are masks.
    const first = equal(positions, 0)
    const ids = select(first, asked("ids"), constant(mask, "i32"))
    const last = networks.decode(forward(config, weights, ids, context).states.at(-1)!, mean)
    const final = rmsNorm(last, weights.finalNorm, config.normEpsilon)
    const columns = rows * (length - 1)
    const before = reshape(sliceAxis(final, 1, 0, length - 1), [columns, config.hiddenSize])
    const targets = reshape(sliceAxis(asked("ids"), 1, 1, length), [columns])
    const { run } = yield* prepare(engine, judged(before, weights.head, targets), parameters)
    return sequences =>
      Effect.gen(function* () {
        const results: Array<Parameters<typeof total>[0][number]> = []
        for (let start = 0; start < sequences.length; start += rows) {
          const some = sequences.slice(start, start + rows)
          const filled = Array.from({ length: rows }, (_, r) => some[r] ?? some[0]!)
          const windows = filled.map((text, sequence) => ({ sequence, start: 0, size: Math.min(length, text.length) }))
          const { losses, right } = yield* run({ ...windowArrays(filled, windows, { prompt: 0, length, pad }) })
          const counts = Float32Array.from({ length: columns }, (_, i) => {
            const row = Math.floor(i / (length - 1))
            return row < some.length && (i % (length - 1)) + 1 < windows[row]!.size ? 1 : 0
          })
          results.push({ losses: losses!, right: right!, counts })
        }
        return total(results)
      })
  })
