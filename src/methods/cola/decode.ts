/** Decoding with latents: they are drawn first, given the prompt, and masked diffusion goes on from what they tell. */
import { Effect, type Scope } from "effect"
import { ddim, euler } from "../shared/latents/samplers.ts"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import { rowTensors } from "../../sessions/query.ts"
import { type Data, inputsOf, makeSession } from "../../sessions/session.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { cola, type ColaArchitecture, colaShape, colaSpecs } from "./networks.ts"
import { finalNorm } from "../../models/config.ts"
import { countElements } from "../../models/parameters.ts"
import { forward, weightsOf } from "../../models/decoder.ts"
import { input, lessEqual, constant } from "../../tensor/ops.ts"
import { normals, type RandomKey, subkey } from "../../tensor/random.ts"
import { canvasArrays, type CanvasShape, makeCanvas } from "../../decoding/canvas.ts"
import type { StageError } from "../../pipeline/StageError.ts"
import type { MaskDecoding } from "../../decoding/blockSettings.ts"
import type { Generator, GeneratorShape } from "../../sessions/generator.ts"
import { type Extended, maskedGenerator, type Newcomers } from "../../sessions/maskedGenerator.ts"

/** Latents by the keys of texts: of those that are written; and of requests that want them again, those asked last are last. */
interface Drawn {
  readonly ofTexts: WeakMap<RandomKey, Float32Array>
  readonly kept: Map<string, Float32Array>
}

/** Latents that are kept for another request, bytes. */
const keptBytes = 2 ** 28

/** Steps of the latents' diffusion, whatever the steps of the tokens'. */
export const latentSteps = 16

export const colaGenerator = (
  engine: Engine,
  model: LoadedModel,
  architecture: ColaArchitecture,
  shape: GeneratorShape,
  decoding: MaskDecoding
): Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope> =>
  architecture.colaVae
    ? Effect.suspend(() => {
        const drawn: Drawn = { ofTexts: new WeakMap(), kept: new Map() }
        return maskedGenerator(engine, model, shape, decoding, canvas =>
          withLatents(engine, model, architecture, canvas, drawn)
        )
      })
    : // Nothing reads latents where there is no decoder.
      maskedGenerator(engine, model, shape, decoding)

/** Latents that are drawn together, in this order: all, or with card the globals and then block by block. */
export const drawnTogether = (
  { colaVariant }: Pick<ColaArchitecture, "colaVariant">,
  { block, globals, locals }: { readonly block: number; readonly globals: number; readonly locals: number }
): ReadonlyArray<readonly [start: number, end: number]> => {
  if (colaVariant !== "card") return [[0, globals + locals]]
  const blocks = Array.from({ length: Math.ceil(locals / block) }, (_, i) => i * block)
  return [[0, globals], ...blocks.map(start => [globals + start, globals + Math.min(locals, start + block)] as const)]
}

const withLatents = (
  engine: Engine,
  { config, parameters, tokenizer: { maskId, padId } }: LoadedModel,
  architecture: ColaArchitecture,
  { length, rows }: CanvasShape,
  { kept, ofTexts }: Drawn
): Effect.Effect<Extended, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { diffusion, latents, stateLayer, width } = colaShape(architecture, config, length)
    const d = config.hiddenSize
    const parameter = inputsOf(parameters)
    const networks = cola(architecture, config, parameter, length)
    const canvas = rowTensors({ rows, length })
    const passed = forward(config, weightsOf(config, parameter), canvas.ids, { causal: false, ...canvas })
    const read = yield* makeSession(engine, { states: passed.hiddenStates[stateLayer]! }, parameters)
    const there = lessEqual(constant(0, "i32"), canvas.segmentIds)
    const states = input("states", "f32", [rows, length, d])
    const diffuse = yield* makeSession(
      engine,
      {
        predicted: networks.diffuse(
          input("noised", "f32", [rows, latents, width]),
          input("time", "f32", [rows]),
          architecture.colaCondition ? { states, seen: there } : undefined
        )
      },
      parameters
    )
    const groups = drawnTogether(architecture, diffusion)
    const size = latents * width
    const mostKept = Math.max(rows, Math.floor(keptBytes / (size * Float32Array.BYTES_PER_ELEMENT)))

    const draw = (start: Float32Array, condition: Data) =>
      Effect.gen(function* () {
        let made: Float32Array = start.slice()
        for (const [from, to] of groups) {
          const inGroup = (i: number): boolean => {
            const latent = Math.floor(i / width) % latents
            return latent >= from && latent < to
          }
          // What was drawn before stays clean beside what is noised; what comes later is not seen.
          const done = made
          const merged = (noised: Float32Array) =>
            noised.map((value, i) => (Math.floor(i / width) % latents < from ? done[i]! : value))
          const predict = (noised: Float32Array, time: number) =>
            Effect.map(
              diffuse.run({ ...condition, noised: merged(noised), time: new Float32Array(rows).fill(time) }),
              ({ predicted }) => predicted
            )
          const found =
            architecture.colaPrediction === "v"
              ? yield* euler(start, predict, latentSteps)
              : yield* ddim(start, predict, {
                  steps: latentSteps,
                  alphaBar: time => 1 - time ** 2,
                  eta: 0,
                  noise: () => new Float32Array(0)
                })
          made = made.map((value, i) => (inGroup(i) ? found[i]! : value))
        }
        return made
      })

    /** Latents of texts, of as many at once as there are rows. */
    const latentsOf = (texts: Newcomers["texts"]) =>
      Effect.gen(function* () {
        const canvas = makeCanvas(
          texts.map(({ ids }) => ids),
          { length, newTokens: 0, mask: maskId, pad: padId }
        )
        const arrays = canvasArrays(canvas, { rows, length })
        const { states: condition } = yield* read.run(arrays)
        const start = new Float32Array(rows * size)
        for (const [r, { key }] of texts.entries()) start.set(normals(subkey(key, "cola latents"), size), r * size)
        const z = yield* draw(start, { states: condition, segmentIds: arrays.segmentIds })
        return texts.map((_, r) => z.slice(r * size, (r + 1) * size))
      })

    return {
      extension: {
        trace: (weight, { positions }) => {
          const decoder = cola(architecture, config, weight, length)
          const drawn = input("latents", "f32", [rows, latents, width])
          return {
            final: ({ hiddenStates: all }) =>
              finalNorm(config).make(weight)(decoder.decode(all.at(-1)!, drawn, positions))
          }
        },
        data: (_ids, texts) => {
          const z = new Float32Array(rows * size)
          for (const [r, { key }] of texts.entries()) z.set(ofTexts.get(key)!, r * size)
          return { latents: z }
        }
      },
      begin: ({ reuse, texts }) =>
        Effect.gen(function* () {
          const begun = performance.now()
          const names = texts.map(({ key }) => key.join())
          const known = reuse && names.every(name => kept.has(name))
          const latents = known ? names.map(name => kept.get(name)!) : yield* latentsOf(texts)
          for (const [r, { key }] of texts.entries()) {
            ofTexts.set(key, latents[r]!)
            if (!reuse) continue
            kept.delete(names[r]!)
            kept.set(names[r]!, latents[r]!)
            if (kept.size > mostKept) kept.delete(kept.keys().next().value!)
          }
          return {
            // One of the student, and those of the latents' diffusion.
            passes: 1 + groups.length * latentSteps,
            forwardMs: performance.now() - begun,
            flops: read.flops + groups.length * latentSteps * diffuse.flops
          }
        }),
      // Two for each weight of the decoder that a token meets; its attention to so few latents is left out, and vectors of places are added.
      flops:
        2 *
        countElements(
          colaSpecs(architecture, config).filter(({ name }) => /^cola\.decoder\.(?!.*positions$)/.test(name))
        ) *
        rows *
        length
    }
  })
