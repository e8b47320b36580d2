/** Pieces of sequences with what comes before them: the examples of methods that make so many tokens at once behind a prompt. */

/** Tokens start to start + size of a sequence, behind up to `prompt` tokens. */
export interface Window {
  readonly sequence: number
  readonly start: number
  readonly size: number
}

export interface WindowShape {
  /** Tokens before a piece that are read, at most. */
  readonly prompt: number
  /** Tokens of a piece. */
  readonly length: number
}

/** The pieces of all sequences, one after the other; the last of a sequence may be shorter. `begins`: where the first piece of each begins, by default with the first token. */
export const windowsOf = (
  lengths: ReadonlyArray<number>,
  { length }: WindowShape,
  begins: ReadonlyArray<number> = []
): ReadonlyArray<Window> =>
  lengths.flatMap((whole, sequence) => {
    const begin = begins[sequence] ?? 0
    const tokens = whole - begin
    return Array.from({ length: Math.ceil(tokens / length) }, (_, i) => ({
      sequence,
      start: begin + i * length,
      size: Math.min(length, tokens - i * length)
    }))
  })

/** Tokens of a piece that are learnt. */
export const learntIn = (
  { sequence, size, start }: Window,
  sequences: ReadonlyArray<{ readonly lossMask: ArrayLike<number> }>
): number => {
  const { lossMask } = sequences[sequence]!
  return Array.from({ length: size }, (_, i) => lossMask[start + i]!).reduce((sum, flag) => sum + flag, 0)
}

/** Rows of pieces, [rows, prompt + length]: the prompt padded on its left, the piece on its right. */
export interface WindowArrays {
  readonly ids: Int32Array<ArrayBuffer>
  /** 0, and -1 for padding. */
  readonly segmentIds: Int32Array<ArrayBuffer>
  /** From 0 on at the first token that is there. */
  readonly positions: Int32Array<ArrayBuffer>
}

export const windowArrays = (
  sequences: ReadonlyArray<ArrayLike<number>>,
  windows: ReadonlyArray<Window>,
  { length, pad, prompt }: WindowShape & { readonly pad: number }
): WindowArrays => {
  const columns = prompt + length
  const ids = new Int32Array(windows.length * columns).fill(pad)
  const segmentIds = new Int32Array(windows.length * columns).fill(-1)
  const positions = new Int32Array(windows.length * columns)
  for (const [row, { sequence, size, start }] of windows.entries()) {
    const before = Math.min(prompt, start)
    for (let i = -before; i < size; i++) {
      const at = row * columns + prompt + i
      ids[at] = sequences[sequence]![start + i]!
      segmentIds[at] = 0
      positions[at] = before + i
    }
  }
  return { ids, segmentIds, positions }
}
