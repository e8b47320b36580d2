/** Decoding with latents: they are drawn first, given the prompt, and masked diffusion goes on from what they tell. */
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { latentDrawer } from "./drawing.ts"
import { cola, type ColaArchitecture, colaShape, colaSpecs } from "./networks.ts"
import { finalNorm } from "../../models/config.ts"
import { countElements } from "../../models/parameters.ts"
import { input } from "../../tensor/ops.ts"
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

const withLatents = (
  engine: Engine,
  model: LoadedModel,
  architecture: ColaArchitecture,
  { length, rows }: CanvasShape,
  { kept, ofTexts }: Drawn
): Effect.Effect<Extended, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const {
      config,
      tokenizer: { maskId, padId }
    } = model
    const { latents, width } = colaShape(architecture, config, length)
    const drawer = yield* latentDrawer(engine, model, architecture, { length, rows })
    const size = latents * width
    const mostKept = Math.max(rows, Math.floor(keptBytes / (size * Float32Array.BYTES_PER_ELEMENT)))

    /** Latents of texts, of as many at once as there are rows. */
    const latentsOf = (texts: Newcomers["texts"]) =>
      Effect.gen(function* () {
        const canvas = makeCanvas(
          texts.map(({ ids }) => ids),
          { length, newTokens: 0, mask: maskId, pad: padId }
        )
        const start = new Float32Array(rows * size)
        for (const [r, { key }] of texts.entries()) start.set(normals(subkey(key, "cola latents"), size), r * size)
        const z = yield* drawer.draw(canvasArrays(canvas, { rows, length }), start)
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
            passes: drawer.passes,
            forwardMs: performance.now() - begun,
            flops: drawer.flops
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
