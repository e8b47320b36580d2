/** Decoding with a noise adapter: masked diffusion whose masks carry noise that the adapter draws anew in every pass. With one step it is the flow map itself. */
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../engines/Engine.ts"
import type { LoadedModel } from "../../models/artifact.ts"
import { countElements } from "../../models/parameters.ts"
import { type VfmArchitecture, vfmSpecs } from "./networks.ts"
import { withNoise } from "./reading.ts"
import { normals, subkey } from "../../tensor/random.ts"
import type { StageError } from "../../pipeline/StageError.ts"
import type { MaskDecoding } from "../../decoding/blockSettings.ts"
import type { CanvasShape } from "../../decoding/canvas.ts"
import type { Generator, GeneratorShape } from "../../sessions/generator.ts"
import { type Extended, maskedGenerator } from "../../sessions/maskedGenerator.ts"

export const vfmGenerator = (
  engine: Engine,
  model: LoadedModel,
  architecture: VfmArchitecture,
  shape: GeneratorShape,
  decoding: MaskDecoding
): Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope> =>
  maskedGenerator(engine, model, shape, decoding, canvas => Effect.succeed(withAdapter(model, architecture, canvas)))

const withAdapter = (
  { config, tokenizer: { maskId } }: LoadedModel,
  architecture: VfmArchitecture,
  { length, rows }: CanvasShape
): Extended => {
  const d = config.hiddenSize
  return {
    extension: {
      trace: withNoise(config, architecture, { rows, length }),
      data: (ids, texts) => {
        const noise = new Float32Array(rows * length * d)
        for (const [r, { key, pad, pass }] of texts.entries()) {
          const own = normals(subkey(key, "vfm noise", [pass]), (length - pad) * d)
          noise.set(own, (r * length + pad) * d)
        }
        return { noise, observed: Float32Array.from(ids, id => (id === maskId ? 0 : 1)) }
      }
    },
    // Two for each weight that a token meets.
    flops: 2 * (countElements(vfmSpecs(architecture, config)) - architecture.maxSeqLen * d) * rows * length
  }
}
