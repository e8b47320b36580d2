/** The cache of a teacher's hidden states: keys, and reading. */
import { createHash } from "node:crypto"
import { Effect, Stream } from "effect"
import { decodeFloats } from "../data/floats.ts"
import type { ChunkReader } from "../pipeline/StageContext.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"

/**
 * Key of a sequence in the field's anchor caches: the first 16 hexadecimal digits of the SHA-256 of its ids as 64-bit integers, little-endian.
 * [1, 2, 3] has e2e2033ae7e19d68.
 */
export const anchorKey = (ids: ArrayLike<number>): string => {
  const bytes = Buffer.from(BigInt64Array.from(Array.from(ids), BigInt).buffer)
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16)
}

/** What an item's key is made of, besides the stage's code and its teacher. */
export const anchorMaterial = (ids: ArrayLike<number>, layer: number): string => {
  const bytes = Buffer.from(BigInt64Array.from(Array.from(ids), BigInt).buffer)
  return `${createHash("sha256").update(bytes).digest("hex")} layer ${layer}`
}

/** Note beside an item. */
export interface AnchorNote {
  /** `anchorKey` of the sequence. */
  readonly sequence: string
  readonly layer: number
  readonly tokens: number
}

interface AnchorMetadata {
  readonly hiddenSize: number
  readonly layers: ReadonlyArray<number>
}

/** States of the sequences at some layers, by number of the sequence and layer: f32 [tokens x d]. */
export type AnchorStates = (sequence: number, layer: number) => Float32Array

/**
 * Reads the anchors of sequences, all into memory (as they are stored, 2 bytes a number). Fails where the set does not hold what is needed, and
 * says what.
 */
export const readAnchors = (
  set: ChunkReader<AnchorMetadata>,
  sequences: ReadonlyArray<ArrayLike<number>>,
  layers: ReadonlyArray<number>,
  hiddenSize: number
): Effect.Effect<AnchorStates, StageError> =>
  Effect.gen(function* () {
    const { metadata } = set
    if (metadata.hiddenSize !== hiddenSize)
      return yield* permanent(`the anchors have ${metadata.hiddenSize} numbers a token, the model ${hiddenSize}`)
    const absent = layers.filter(layer => !metadata.layers.includes(layer))
    if (absent.length > 0)
      return yield* permanent(
        `the anchors hold layers ${metadata.layers.join(", ")}, not ${absent.join(", ")}`,
        "name these layers in the stage that makes the anchors, too"
      )
    const stored = new Map<string, Uint8Array>()
    yield* Stream.runForEach(set.items, item =>
      Effect.gen(function* () {
        const { layer, sequence } = item.note as unknown as AnchorNote
        if (layers.includes(layer)) stored.set(`${sequence} ${layer}`, yield* item.bytes)
      })
    )
    const keys = sequences.map(anchorKey)
    for (const [i, key] of keys.entries())
      for (const layer of layers) {
        const size = stored.get(`${key} ${layer}`)?.length
        const expected = sequences[i]!.length * hiddenSize * 2
        if (size !== expected)
          return yield* permanent(
            size === undefined
              ? `there is no anchor of sequence ${i} (${sequences[i]!.length} tokens, key ${key}) at layer ${layer}`
              : `the anchor of sequence ${i} (key ${key}) at layer ${layer} has ${size} bytes, expected ${expected}`,
            "anchors are made from the same sequences that are trained on: the same tokenizer, cut at the same length"
          )
      }
    return (sequence, layer) => decodeFloats("BF16", stored.get(`${keys[sequence]!} ${layer}`)!)
  })
