/**
 * The least time that a decoder's passes take on a machine (roofline; Williams et al. 2009): each needs its matrix products and its traffic with memory, and takes as long as the slower of both. Of
 * models whose layers all attend, in f32.
 */
import { BlockRow, type BlockReading } from "../../src/decoding/blockRow.ts"
import { blocksOf, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { allLinearModules, countParameters, type ModelConfig } from "../../src/models/config.ts"
import { mixerOf } from "../../src/models/layers/layer.ts"

/** What a forward pass over a text asks of the model. */
export interface Pass {
  /** Places that are computed. */
  readonly read: number
  /** Places whose keys and values are looked at, computed or from a cache. */
  readonly seen: number
  /** Pairs of a place that is computed and one that it sees. */
  readonly pairs: number
  /** Places whose logits are needed. */
  readonly asked: number
  /** Places whose keys and values the cache holds from now on. */
  readonly kept: number
}

/** What passes need together. */
export interface Work {
  /** Floating-point operations of matrix products: 2 for a product of two numbers and its sum. */
  readonly flops: number
  /** Bytes that are read or written. */
  readonly bytes: number
}

export interface Peaks {
  /** Floating-point operations of matrix products per second. */
  readonly matmul: number
  /** Bytes per second, read or written. */
  readonly bandwidth: number
}

const bytesOfFloat = 4

/** Products of all linear maps with the places that are computed, of queries with keys and of their weights with values, and of the head with the places that are asked for. */
export const passFlops = (config: ModelConfig, { asked, pairs, read }: Pass): number => {
  const { hiddenSize, layers, vocabSize } = config
  const { headDim, heads } = mixerOf(layers, "attention")
  const linear = allLinearModules(config).reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0)
  return 2 * (linear * read + 2 * layers.length * heads * headDim * pairs + vocabSize * hiddenSize * asked)
}

/**
 * Every weight is read once, and of the embedding the tokens' rows. Every linear map reads its inputs and writes its outputs; attention reads queries, keys and values and writes what it made of them,
 * but no scores; logits are written, and read to choose. What the cache is to hold is written there. Norms and what is added, multiplied or rotated number by number counts as a part of the product
 * beside it.
 */
export const passBytes = (config: ModelConfig, { asked, kept, read, seen }: Pass): number => {
  const { hiddenSize, layers, tiedHead, vocabSize } = config
  const { headDim, heads, keyValueHeads } = mixerOf(layers, "attention")
  // A head that is tied is the embedding, read as a whole; one that is not is another parameter.
  const weights = countParameters(config) - (tiedHead ? 0 : vocabSize * hiddenSize)
  const embedded = hiddenSize * read
  const linear = allLinearModules(config).reduce((sum, { inputs, outputs }) => sum + inputs + outputs, 0) * read
  const attention = 2 * layers.length * headDim * (heads * read + keyValueHeads * seen)
  const cached = 2 * layers.length * headDim * keyValueHeads * kept
  const head = (hiddenSize + 2 * vocabSize) * asked
  return bytesOfFloat * (weights + embedded + linear + attention + cached + head)
}

export const workOf = (config: ModelConfig, passes: ReadonlyArray<Pass>): Work => ({
  flops: passes.reduce((sum, pass) => sum + passFlops(config, pass), 0),
  bytes: passes.reduce((sum, pass) => sum + passBytes(config, pass), 0)
})

/** Milliseconds, at least: of each pass those of the slower of products and memory. */
export const leastMs = (config: ModelConfig, passes: ReadonlyArray<Pass>, peaks: Peaks): number =>
  passes.reduce(
    (sum, pass) =>
      sum + 1000 * Math.max(passFlops(config, pass) / peaks.matmul, passBytes(config, pass) / peaks.bandwidth),
    0
  )

/** How a text of masks is decoded by quota, which says how many tokens a pass reveals, whatever the model finds. */
export interface MaskedText extends BlockReading {
  readonly promptTokens: number
  readonly newTokens: number
  readonly steps: number
  readonly decoding: MaskDecoding
}

/** The passes of such a text: those of a model that is equally sure of everything. */
export const maskedPasses = ({ decoding, newTokens, promptTokens, steps, ...reading }: MaskedText) => {
  const { attentionBlockSize: align } = reading
  const mask = -1
  const settings = blocksOf(decoding, { newTokens, steps, ...(align === undefined ? {} : { align }) })
  const prompt = { ids: new Int32Array(promptTokens), newTokens, key: [0, 0] } as const
  const row = new BlockRow(prompt, { ...reading, settings, mask, ends: new Set() })
  const passes: Array<Pass> = []
  while (!row.done) {
    const { from, keeps, places, to, until } = row.next()
    let pairs = 0
    for (let place = from; place < to; place++)
      pairs += align === undefined ? until : Math.min(until, align * (1 + Math.floor(place / align)))
    passes.push({ read: to - from, seen: until, pairs, asked: places.length, kept: keeps ? keeps.to - keeps.from : 0 })
    row.reveal(places.map(place => ({ place, token: 0, score: 0, measure: 0 })))
  }
  return passes
}

/** The passes of a text that is written token by token with a cache: one over the prompt, and one over each new token but the last. */
export const causalPasses = (promptTokens: number, newTokens: number): ReadonlyArray<Pass> =>
  Array.from({ length: newTokens }, (_, i) => {
    const seen = promptTokens + i
    const read = i === 0 ? promptTokens : 1
    const pairs = i === 0 ? (promptTokens * (promptTokens + 1)) / 2 : seen
    return { read, seen, pairs, asked: 1, kept: read }
  })
