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
import { stepKey } from "../../decoding/draws.ts"
import { type Advance, clocked, OpenBatch, type WrittenText } from "../../decoding/openBatch.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { cleanStates, rowInputs } from "../shared/latents/cleanStates.ts"
import { ldlm, type LdlmArchitecture } from "./networks.ts"
import { denormalised, normalised, type Scales } from "./statistics.ts"
import { logits } from "../../models/decoder.ts"
import { constant, input, lessEqual } from "../../tensor/ops.ts"
import { normals, type RandomKey, subkey, uniformAt } from "../../tensor/random.ts"
import {
  type Generator,
  generatorOf,
  type GeneratorShape,
  rowsThatFit,
  type WantedText
} from "../../sessions/generator.ts"
import { confidenceOf, type Sampling, sampleToken } from "../../decoding/sampling.ts"

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
    let flops = 0

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

    /** The next pieces of texts, of each so many as it has. */
    const piecesOf = (texts: ReadonlyArray<LatentText>, steps: number) =>
      Effect.gen(function* () {
        const last = texts.map(({ known }) => known.slice(known.length - Math.min(length, known.length)))
        const arrays = canvasArrays(makeCanvas(last, { length, newTokens: 0, mask: maskId, pad: padId }), {
          rows,
          length
        })
        const condition = read === undefined ? {} : { ...(yield* read.run(arrays)), segmentIds: arrays.segmentIds }
        const noise = (purpose: string, step: number): Float32Array<ArrayBuffer> => {
          const values = new Float32Array(rows * size)
          for (const [r, { key, pieces }] of texts.entries())
            values.set(normals(subkey(key, purpose, [pieces, step]), size), r * size)
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
        flops += (read?.flops ?? 0) + steps * denoise.flops + decode.flops
        return texts.map((_, r) => found.subarray(r * piece * config.vocabSize, (r + 1) * piece * config.vocabSize))
      })

    const drawing = { sampling, vocabSize: config.vocabSize }
    /** Texts of as many steps are denoised together. */
    const advance: Advance<LatentText, EngineError> = open =>
      Effect.gen(function* () {
        const logitsOf = new Map<LatentText, Float32Array>()
        let [passes, forwardMs] = [0, 0]
        for (const [steps, texts] of Map.groupBy(
          open.map(({ text }) => text),
          ({ steps }) => steps
        )) {
          const { found, ms } = yield* clocked(piecesOf(texts, steps))
          for (const [r, text] of texts.entries()) logitsOf.set(text, found[r]!)
          passes += steps
          forwardMs += ms
        }
        return {
          passes,
          forwardMs,
          take: open.map(
            ({ text }) =>
              () =>
                text.take(logitsOf.get(text)!, drawing)
          )
        }
      })

    return generatorOf({
      newTokens,
      stepsThatCount: steps => steps,
      flops: () => flops,
      open: ({ watched = false } = {}) => ({
        batch: new OpenBatch(rows, advance),
        begin: wanted => new LatentText(wanted, { newTokens, mask: maskId, watched })
      })
    })
  })

/** A text that is written piece by piece. */
class LatentText implements WrittenText {
  readonly key: RandomKey
  /** Of a piece. */
  readonly steps: number
  readonly passesBeside = 0
  readonly decoded: number
  /** Pieces that are there. */
  pieces = 0
  forwards = 0
  /** The prompt, and what was written behind it. */
  known: Int32Array
  readonly #length: number
  readonly #mask: number
  readonly #watched: boolean
  readonly #confidence: Float32Array

  constructor(
    { key, prompt, steps }: WantedText,
    { mask, newTokens, watched }: { readonly newTokens: number; readonly mask: number; readonly watched: boolean }
  ) {
    this.key = key
    this.steps = steps
    this.known = Int32Array.from(prompt)
    this.#length = prompt.length + newTokens
    this.#mask = mask
    this.#watched = watched
    this.#confidence = new Float32Array(newTokens).fill(NaN)
    this.decoded = newTokens
  }

  get done(): boolean {
    return this.known.length === this.#length
  }

  get shown(): Int32Array {
    const shown = new Int32Array(this.#length).fill(this.#mask)
    shown.set(this.known)
    return shown
  }

  get confidence(): Float32Array {
    return this.#confidence.slice()
  }

  /** Draws the tokens of a piece by their logits [n, V], which it changes. */
  take(
    logits: Float32Array,
    { sampling, vocabSize }: { readonly sampling: Sampling; readonly vocabSize: number }
  ): void {
    const key = stepKey(this.key, "tokens", this.pieces++)
    this.forwards += this.steps
    const count = Math.min(logits.length / vocabSize, this.#length - this.known.length)
    const first = this.decoded - (this.#length - this.known.length)
    const tokens = Array.from({ length: count }, (_, i) => {
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
      row[this.#mask] = -Infinity
      const { token } = sampleToken(row, sampling, uniformAt(key, i))
      if (this.#watched) this.#confidence[first + i] = confidenceOf(row, token)
      return token
    })
    this.known = Int32Array.from([...this.known, ...tokens])
  }
}
