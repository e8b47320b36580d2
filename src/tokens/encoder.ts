/** From text to ids: added tokens are found, the rest is normalised, cut into pieces, and read by the model; with a memory of pieces seen. */
import { sectionsBy } from "./addedSections.ts"
import type { Normalize } from "./normalizers.ts"
import type { PreTokenizer } from "./preTokenizers.ts"
import type { AddedToken } from "./tokenizerFile.ts"

/** What we use of the library's model; its own declarations do not resolve under Node's module rules. */
export interface LibraryModel {
  /** The tokens of pieces, unknown ones fused where the model says so. */
  readonly _call: (pieces: ReadonlyArray<string>) => ReadonlyArray<string>
  readonly tokens_to_ids: ReadonlyMap<string, number>
  readonly vocab: ReadonlyArray<string | undefined>
  readonly unk_token_id: number | undefined
}

export interface EncoderParts {
  readonly model: LibraryModel
  readonly normalize: Normalize | undefined
  readonly preTokenizer: PreTokenizer
  /** Whether characters that no token has are left out before pieces are read, so that those beside them may be merged: where the file has nothing for unknown ones. */
  readonly leavesOut: boolean
  /** Those that are found in texts. */
  readonly addedTokens: ReadonlyArray<AddedToken>
}

/** Pieces longer than this are not remembered: they rarely come again. */
const longestRemembered = 64
/** When so many pieces are remembered, the memory starts afresh. */
const mostRemembered = 1 << 16

/** An encoder for one tokenizer; it gives the ids of a text, added tokens matched in it. */
export type Encode = (text: string) => Int32Array

export const makeEncoder = ({ addedTokens, leavesOut, model, normalize, preTokenizer }: EncoderParts): Encode => {
  const { cut, spelled } = preTokenizer
  const known = (piece: string): string =>
    leavesOut ? Array.from(piece, sign => (model.tokens_to_ids.has(sign) ? sign : "")).join("") : piece
  const idsOfPiece = (piece: string): ReadonlyArray<number> =>
    model._call([known(spelled(piece))]).map(token => {
      const id = model.tokens_to_ids.get(token) ?? model.unk_token_id
      if (id === undefined) throw new Error("a word is not in the vocabulary, which has no token for that")
      return id
    })

  const remembered = new Map<string, ReadonlyArray<number>>()
  const lookUp = (piece: string): ReadonlyArray<number> => {
    const known = remembered.get(piece)
    if (known !== undefined) return known
    const ids = idsOfPiece(piece)
    if (piece.length <= longestRemembered) {
      if (remembered.size >= mostRemembered) remembered.clear()
      // A copy: the piece is a view into its document and would keep all of it in memory.
      remembered.set(Buffer.from(piece, "utf16le").toString("utf16le"), ids)
    }
    return ids
  }

  const inText = sectionsBy(
    addedTokens.filter(({ normalized }) => !normalized),
    ({ content }) => content
  )
  const inNormalised = sectionsBy(
    addedTokens.filter(({ normalized }) => normalized),
    ({ content }) => normalize?.(content) ?? content
  )

  let kept = new Int32Array(1024)
  return text => {
    // Of this call alone, and in no closure: this loop is most of the work on texts whose pieces are known.
    let ids = kept
    let length = 0
    for (const [i, section] of inText(text).entries()) {
      if (typeof section !== "string") {
        ids = withRoom(ids, length, 1)
        ids[length++] = section.id
        continue
      }
      for (const [j, part] of inNormalised(normalize?.(section) ?? section).entries()) {
        if (typeof part !== "string") {
          ids = withRoom(ids, length, 1)
          ids[length++] = part.id
        } else if (part !== "")
          for (const piece of cut(part, i === 0 && j === 0)) {
            const own = lookUp(piece)
            ids = withRoom(ids, length, own.length)
            for (let k = 0; k < own.length; k++) ids[length++] = own[k]!
          }
      }
    }
    kept = ids
    return ids.slice(0, length)
  }
}

/** The array, or a larger one that begins with the same ids, with room for more behind them. */
const withRoom = (ids: Int32Array<ArrayBuffer>, length: number, more: number): Int32Array<ArrayBuffer> => {
  if (length + more <= ids.length) return ids
  const larger = new Int32Array(Math.max(ids.length * 2, length + more))
  larger.set(ids.subarray(0, length))
  return larger
}
