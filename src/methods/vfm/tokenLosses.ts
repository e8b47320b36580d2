/** Losses of every token of packed rows, with the noise of an adapter (VFM). */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../../engines/Engine.ts"
import { inputsOf, makeSession } from "../../sessions/session.ts"
import type { LossArrays, TokenLosses } from "../../sessions/tokenLosses.ts"
import type { ModelConfig } from "../../models/config.ts"
import { vfm, type VfmArchitecture } from "./networks.ts"
import { type BatchShape, nextTokenLossInputs, nextTokenLosses } from "../../models/nextTokenLoss.ts"
import { zeros } from "../../tensor/composites.ts"
import { input } from "../../tensor/ops.ts"
import { normals, randomKey } from "../../tensor/random.ts"

/**
 * Losses f32 [rows x (length - 1)], nats, of rows with masks, each with one draw of the adapter's noise. The noise depends on what is visible alone, so that their mean over draws is an upper
 * bound of the negative logarithm of the probability, noise integrated out.
 */
export const vfmTokenLosses = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  architecture: VfmArchitecture,
  { length, mask, rows, seed }: BatchShape & { readonly mask: number; readonly seed: number }
): Effect.Effect<TokenLosses, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const d = config.hiddenSize
    const parameter = inputsOf(parameters)
    const networks = vfm(architecture, config, parameter)
    const shape = { rows, length }
    const asked = inputsOf(nextTokenLossInputs(shape))
    const observed = input("observed", "f32", [rows, length])
    const { losses } = nextTokenLosses(config, parameter, asked, {
      causal: false,
      checkpointLayers: false,
      tokenShift: architecture.tokenShift,
      embedded: embeddings => {
        const segmentIds = asked("segmentIds")
        const gaussian = networks.adapter(embeddings, { observed, segmentIds, positions: asked("positions") })
        const noise = input("noise", "f32", [rows, length, d])
        const z = networks.draw(gaussian, { noise, pure: zeros("f32", [rows, length]) })
        return networks.inputs(embeddings, observed, z)
      }
    })
    const { run } = yield* makeSession(engine, { losses }, parameters)
    return (arrays: LossArrays) => {
      // Another draw for other rows, the same for the same.
      const key = randomKey(seed, "vfm losses", ...arrays.ids)
      const noise = normals(key, rows * length * d)
      const visible = Float32Array.from(arrays.ids, id => (id === mask ? 0 : 1))
      return Effect.map(run({ ...arrays, noise, observed: visible }), found => found.losses)
    }
  })
