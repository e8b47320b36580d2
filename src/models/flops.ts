/** Floating-point operations of a training step, by formula: what throughput is compared with. */
import { countParameters, goesBothWays, layerOf, type ModelConfig } from "./config.ts"

interface Pass {
  /** Whether the pass is causal: then no layer goes both ways. */
  readonly causal: boolean
  /** Whether it reads every token twice, with masks and without (blockDiffusion.ts). The head reads one state of each token all the same. */
  readonly halves?: boolean
}

/**
 * Forward and backward of some documents, recomputation left out: 6 for each weight that multiplies a token (the embedding is looked up, the head
 * counts once, of experts those that a token is sent to), and what each layer's mixer takes beyond (layers/), whether a document is masked or not.
 */
export const trainingFlops = (
  config: ModelConfig,
  documentLengths: Iterable<number>,
  { causal, halves = false }: Pass
): number => {
  const { hiddenSize, layers, tiedHead, vocabSize } = config
  const embedding = vocabSize * hiddenSize
  const mixers = layers.map((_, layer) => layerOf(config, layer))
  const bothWays = goesBothWays(config, causal)
  const idle = mixers.reduce((sum, mixer) => sum + (mixer.idle ?? 0), 0)
  // An untied head is a parameter beside the embedding; a tied one is the embedding itself.
  const dense = countParameters(config) - (tiedHead ? 0 : embedding) - idle
  let total = 0
  for (const length of documentLengths) {
    const read = halves ? 2 * length : length
    total += mixers.reduce(
      (sum, { flops }) => sum + flops(read, bothWays),
      6 * (dense * read - embedding * (read - length))
    )
  }
  return total
}

/** Lengths of the documents in packed rows of `length` tokens; `segmentIds` as packing gives them. */
export const documentLengths = (segmentIds: ArrayLike<number>, length: number): ReadonlyArray<number> => {
  const lengths: Array<number> = []
  for (let i = 0; i < segmentIds.length; i++) {
    if (segmentIds[i]! < 0) continue
    const goesOn = i % length !== 0 && segmentIds[i] === segmentIds[i - 1]
    if (goesOn) lengths[lengths.length - 1]!++
    else lengths.push(1)
  }
  return lengths
}

/** What a micro-batch of packed rows holds and costs. */
export const work = (config: ModelConfig, segmentIds: ArrayLike<number>, length: number, pass: Pass) => {
  const lengths = documentLengths(segmentIds, length)
  return {
    tokens: lengths.reduce((sum, size) => sum + size, 0),
    sequences: lengths.length,
    rows: segmentIds.length / length,
    flops: trainingFlops(config, lengths, pass)
  }
}
