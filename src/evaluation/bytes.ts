/** Bytes of text that a model predicts: what bits per byte are counted by, since tokens of different tokenizers cannot be compared. */
import type { Tokenizer } from "../tokens/tokenizer.ts"

/**
 * Bytes (UTF-8) of a document's consecutive sequences, without what the tokens stand for that nobody predicts, the first of each sequence at least. Special
 * tokens, an end of text for example, stand for none.
 */
export const predictedBytes = (
  sequences: ReadonlyArray<{ readonly ids: Int32Array; readonly lossMask: ArrayLike<number> }>,
  tokenizer: Pick<Tokenizer, "decode">,
  predicted: (place: number, supervised: boolean) => boolean
): number => {
  const size = (ids: Iterable<number>): number => Buffer.byteLength(tokenizer.decode(ids, { skipSpecialTokens: true }))
  let bytes = size(sequences.flatMap(({ ids }) => [...ids]))
  for (const { ids, lossMask } of sequences) {
    // Runs of tokens are decoded together: a character may need several.
    let run: Array<number> = []
    for (const [i, id] of ids.entries()) {
      if (!predicted(i, lossMask[i] === 1)) run.push(id)
      else if (run.length > 0) {
        bytes -= size(run)
        run = []
      }
    }
    if (run.length > 0) bytes -= size(run)
  }
  return bytes
}
