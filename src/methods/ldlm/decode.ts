/**
 * Decoding with LDLM: latents of the next piece of text are drawn by diffusion, given the states of what is there, and become tokens all at once; piece by piece until there
 * are enough.
 */
import { Effect, type Scope } from "effect"
import { alphaBar } from "./noiseSchedule.ts"
import { ddim } from "../shared/latents/samplers.ts"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import { inputsOf, makeSession } from "../../sessions/session.ts"
import { canvasArrays, makeCanvas } from "../../decoding/canvas.ts"
import { stepKey, textKeys } from "../../decoding/draws.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { cleanStates, rowInputs } from "../shared/latents/cleanStates.ts"
import { ldlm, type LdlmArchitecture } from "./networks.ts"
import { denormalised, normalised, type Scales } from "./statistics.ts"
import { logits } from "../../models/decoder.ts"
import { constant, input, lessEqual } from "../../tensor/ops.ts"
import { normals, type RandomKey, subkey, uniformAt } from "../../tensor/random.ts"
import { type Generator, type GeneratorShape, rowsThatFit } from "../../sessions/generator.ts"
import { type Sampling, sampleToken } from "../../decoding/sampling.ts"
import { append } from "../../pipeline/lists.ts"

export const ldlmGenerator = (
  engine: Engine,
  { config, parameters, tokenizer: { maskId, padId } }: LoadedModel,
  { architecture, statistics }: { readonly architecture: LdlmArchitecture; readonly statistics: Scales },
  shape: GeneratorShape,
  sampling: Sampling
): Effect.Effect<Generator<EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { newTokens } = shape
    const { promptLength: length, seqLen: piece } = architecture
    const rows = rowsThatFit(config.vocabSize, { ...shape, newTokens: piece })
    const parameter = inputsOf(parameters)
    const networks = ldlm(architecture, config, parameter)
    const { latents, stateLayer, width } = networks.shape
    const latentShape = [rows, latents, width] as const
    const size = latents * width

    const row = inputsOf(rowInputs([rows, length]))
    const states = cleanStates(config, parameter, row, { causal: true, layer: stateLayer })
    const scale = (of: keyof Scales) => constant(Float32Array.from(statistics[of]), "f32", [3])
    const read =
      length === 0 ? undefined : yield* makeSession(engine, { states: normalised(states, scale("states")) }, parameters)
    const prompt =
      length === 0
        ? undefined
        : {
            states: input("states", "f32", [rows, length, config.hiddenSize]),
            seen: lessEqual(constant(0, "i32"), row("segmentIds"))
          }
    const predicted = networks.denoise(
      input("noised", "f32", latentShape),
      input("time", "f32", [rows]),
      input("earlier", "f32", latentShape),
      prompt
    )
    const denoise = yield* makeSession(engine, { predicted }, parameters)
    const { bias, weight } = networks.head()
    const drawn = input("latents", "f32", latentShape)
    const hidden = networks.tokens(
      networks.decode(architecture.scaledLatents ? denormalised(drawn, scale("latents")) : drawn)
    )
    const decode = yield* makeSession(engine, { logits: logits(hidden, { head: weight }, bias) }, parameters)

    /** Adds a piece to each text. */
    const extend = (texts: ReadonlyArray<Int32Array>, keys: ReadonlyArray<RandomKey>, steps: number, number: number) =>
      Effect.gen(function* () {
        const last = texts.map(text => text.slice(text.length - Math.min(length, text.length)))
        const arrays = canvasArrays(makeCanvas(last, { length, newTokens: 0, mask: maskId, pad: padId }), {
          rows,
          length
        })
        const condition = read === undefined ? {} : { ...(yield* read.run(arrays)), segmentIds: arrays.segmentIds }
        const noise = (purpose: string, step: number): Float32Array<ArrayBuffer> => {
          const values = new Float32Array(rows * size)
          for (const [r, key] of keys.entries())
            values.set(normals(subkey(key, purpose, [number, step]), size), r * size)
          return values
        }
        const clean = yield* ddim(
          noise("ldlm latents", 0),
          (noised, time, earlier) =>
            Effect.map(
              denoise.run({ ...condition, noised, earlier, time: new Float32Array(rows).fill(time) }),
              made => made.predicted
            ),
          {
            steps,
            direction: architecture.samplerDirection,
            eta: architecture.samplerEta,
            alphaBar: time => alphaBar(architecture.noiseSchedule, architecture.tangentD, time),
            noise: step => noise("ldlm fresh noise", step)
          }
        )
        const { logits: found } = yield* decode.run({ latents: clean })
        return texts.map((text, r) => {
          const key = stepKey(keys[r]!, "tokens", number)
          const tokens = Int32Array.from({ length: piece }, (_, i) => {
            const start = (r * piece + i) * config.vocabSize
            const row = found.subarray(start, start + config.vocabSize)
            row[maskId] = -Infinity
            return sampleToken(row, sampling, uniformAt(key, i)).token
          })
          return Int32Array.from([...text, ...tokens])
        })
      })

    const pieces = Math.ceil(newTokens / piece)
    return {
      newTokens,
      stepsThatCount: steps => steps,
      generate: ({ onStep, prompts, steps, ...drawing }) =>
        Effect.gen(function* () {
          const { keys = textKeys({ ...drawing, prompts }) } = drawing
          const sequences: Array<Int32Array> = []
          const begun = performance.now()
          let [flops, passes] = [0, 0]
          for (let first = 0; first < prompts.length; first += rows) {
            const some = prompts.slice(first, first + rows)
            const lengths = some.map(text => text.length + newTokens)
            let texts = some.map(text => Int32Array.from(text))
            for (let number = 0; number < pieces; number++) {
              texts = [...(yield* extend(texts, keys.slice(first, first + rows), steps, number))]
              flops += (read?.flops ?? 0) + steps * denoise.flops + decode.flops
              passes += steps
              for (const [r, text] of texts.entries()) {
                if (onStep === undefined) continue
                const row = new Int32Array(lengths[r]!).fill(maskId)
                row.set(text.subarray(0, lengths[r]))
                yield* onStep(first + r, (number + 1) * steps, row)
              }
            }
            append(
              sequences,
              texts.map((text, r) => text.slice(0, lengths[r]))
            )
          }
          const forwards = prompts.map(() => pieces * steps)
          return {
            sequences,
            tokens: prompts.map(() => newTokens),
            forwards,
            passes,
            forwardMs: performance.now() - begun,
            flops
          }
        })
    }
  })
