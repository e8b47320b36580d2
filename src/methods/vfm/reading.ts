/** How a language model with a noise adapter (VFM) reads tokens with masks: the noise is in their embeddings. */
import type { MaskedReading } from "../../sessions/query.ts"
import type { ModelConfig } from "../../models/config.ts"
import type { BatchShape } from "../../models/nextTokenLoss.ts"
import { zeros } from "../../tensor/composites.ts"
import { input } from "../../tensor/ops.ts"
import { normals, randomKey } from "../../tensor/random.ts"
import { vfm, type VfmArchitecture } from "./networks.ts"

/** With noise that is handed in: `noise` f32 [rows, length, d], and `observed` f32 [rows, length], 1 where a token is visible. */
export const withNoise =
  (
    config: ModelConfig,
    architecture: VfmArchitecture,
    { length, rows }: BatchShape
  ): NonNullable<MaskedReading["extension"]>["trace"] =>
  (parameter, { positions, segmentIds }) => {
    const networks = vfm(architecture, config, parameter)
    const observed = input("observed", "f32", [rows, length])
    return {
      embedded: embeddings => {
        const gaussian = networks.adapter(embeddings, { observed, segmentIds, positions })
        const noise = input("noise", "f32", [rows, length, config.hiddenSize])
        const z = networks.draw(gaussian, { noise, pure: zeros("f32", [rows, length]) })
        return networks.inputs(embeddings, observed, z)
      }
    }
  }

/**
 * Each pass has one draw of the adapter's noise. The noise depends on what is visible alone, so that the mean of the losses over draws is an upper bound of the negative
 * logarithm of the probability, noise integrated out.
 */
export const vfmReading = (
  config: ModelConfig,
  architecture: VfmArchitecture,
  { length, mask, rows, seed }: BatchShape & { readonly mask: number; readonly seed: number }
): MaskedReading => {
  const d = config.hiddenSize
  return {
    tokenShift: architecture.tokenShift,
    extension: {
      trace: withNoise(config, architecture, { rows, length }),
      data: ids => {
        // Another draw for other rows, the same for the same.
        const key = randomKey(seed, "vfm losses", ...ids)
        const noise = new Float32Array(rows * length * d)
        for (const [place, id] of ids.entries())
          // Where it is only added to masks, nothing reads that of visible tokens.
          if (architecture.noiseInput === "replacing" || id === mask) noise.set(normals(key, d, place * d), place * d)
        return { noise, observed: Float32Array.from(ids, id => (id === mask ? 0 : 1)) }
      }
    }
  }
}
