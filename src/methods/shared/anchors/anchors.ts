/** The cache of a teacher's hidden states: keys, items, and reading. */
import { Effect, Stream } from "effect"
import { decodeFloats } from "../../../formats/floats.ts"
import { sha256 } from "../../../pipeline/Digest.ts"
import type { ChunkReader } from "../../../pipeline/StageContext.ts"
import { permanent, type StageError } from "../../../pipeline/StageError.ts"

/** SHA-256 of a sequence's ids as 64-bit integers, little-endian. Ids are not negative. */
const sequenceDigest = (ids: ArrayLike<number>): string => {
  const words = new Int32Array(2 * ids.length)
  for (let i = 0; i < ids.length; i++) words[2 * i] = ids[i]!
  return sha256(new Uint8Array(words.buffer))
}

/** Key of a sequence in the field's anchor caches: the first 16 hexadecimal digits of the digest. [1, 2, 3] has e2e2033ae7e19d68. */
export const anchorKey = (ids: ArrayLike<number>): string => sequenceDigest(ids).slice(0, 16)

/**
 * What the items of a sequence are keyed by, besides the stage's code and its teacher: one item holds the ids, by which a reader knows that it has
 * the right sequence, the others the states at a layer each.
 */
export const anchorMaterials = (
  ids: ArrayLike<number>,
  layers: ReadonlyArray<number>
): { readonly ids: string; readonly layers: ReadonlyArray<string> } => {
  const digest = sequenceDigest(ids)
  return { ids: `${digest} ids`, layers: layers.map(layer => `${digest} layer ${layer}`) }
}

/** Note beside an item. */
export interface AnchorNote {
  /** `anchorKey` of the sequence. */
  readonly sequence: string
  readonly tokens: number
  /** Left out where the item holds the ids: 32-bit integers, little-endian. */
  readonly layer?: number
}

export const encodeIds = (ids: ArrayLike<number>): Uint8Array => new Uint8Array(Int32Array.from(ids).buffer)

export const decodeIds = (bytes: Uint8Array): Int32Array => new Int32Array(Uint8Array.from(bytes).buffer)

interface AnchorMetadata {
  readonly hiddenSize: number
  readonly layers: ReadonlyArray<number>
}

/** States of the sequences at some layers, by number of the sequence and layer: f32 [tokens x d]. */
export type AnchorStates = (sequence: number, layer: number) => Float32Array

const advice =
  "anchors are made from the same sequences that are trained on: the same tokenizer, cut at the same length"

const sameIds = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
  a.length === b.length && Array.prototype.every.call(a, (id: number, i: number) => id === b[i])

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
    const storedIds = new Map<string, Int32Array>()
    yield* Stream.runForEach(set.items, item =>
      Effect.gen(function* () {
        const { layer, sequence } = item.note as unknown as AnchorNote
        if (layer === undefined) storedIds.set(sequence, decodeIds(yield* item.bytes))
        else if (layers.includes(layer)) stored.set(`${sequence} ${layer}`, yield* item.bytes)
      })
    )
    const keys = sequences.map(anchorKey)
    for (const [i, key] of keys.entries()) {
      const named = `sequence ${i} (${sequences[i]!.length} tokens, key ${key})`
      const ids = storedIds.get(key)
      if (ids !== undefined && !sameIds(ids, sequences[i]!))
        return yield* permanent(`the anchors under the key of ${named} are those of another sequence`, advice)
      for (const layer of layers) {
        const size = stored.get(`${key} ${layer}`)?.length
        const expected = sequences[i]!.length * hiddenSize * 2
        if (ids === undefined || size === undefined)
          return yield* permanent(`there is no anchor of ${named} at layer ${layer}`, advice)
        if (size !== expected)
          return yield* permanent(
            `the anchor of ${named} at layer ${layer} has ${size} bytes, expected ${expected}`,
            advice
          )
      }
    }
    return (sequence, layer) => decodeFloats("BF16", stored.get(`${keys[sequence]!} ${layer}`)!)
  })
