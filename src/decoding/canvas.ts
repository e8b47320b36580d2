/** The canvas that a diffusion fills: prompts padded on the left, so that the new tokens, masks at first, are the last columns of all rows. */

export interface CanvasShape {
  /** At most; there may be fewer prompts. */
  readonly rows: number
  /** Tokens of a row: the longest prompt and the new ones. */
  readonly length: number
  readonly newTokens: number
}

export interface Canvas {
  /** [prompts x length]. */
  readonly ids: Int32Array
  /** How many columns at the beginning of each row are padding. */
  readonly pads: ReadonlyArray<number>
}

/** Throws RangeError for a prompt that leaves too little room, and for one without tokens, if something is to come behind it: what would predict it? */
export const makeCanvas = (
  prompts: ReadonlyArray<ArrayLike<number>>,
  { length, mask, newTokens, pad }: Omit<CanvasShape, "rows"> & { readonly mask: number; readonly pad: number }
): Canvas => {
  const pads = prompts.map(prompt => length - newTokens - prompt.length)
  if (pads.some(n => n < 0)) throw new RangeError(`a prompt does not fit into ${length} tokens`)
  if (newTokens > 0 && prompts.some(prompt => prompt.length === 0))
    throw new RangeError("a prompt needs at least one token")
  const ids = new Int32Array(prompts.length * length).fill(pad)
  for (const [row, prompt] of prompts.entries()) {
    ids.set(Array.from(prompt), row * length + pads[row]!)
    ids.fill(mask, (row + 1) * length - newTokens, (row + 1) * length)
  }
  return { ids, pads }
}

/** What a model reads of a canvas, each [rows x length]; rows without a prompt are zeros. */
export const canvasArrays = (
  { ids, pads }: Canvas,
  { length, rows }: Pick<CanvasShape, "rows" | "length">
): { readonly [name in "ids" | "segmentIds" | "positions"]: Int32Array<ArrayBuffer> } => {
  const all = new Int32Array(rows * length)
  all.set(ids)
  const segmentIds = new Int32Array(rows * length)
  const positions = new Int32Array(rows * length)
  for (const [row, pad] of pads.entries())
    for (let i = 0; i < length; i++) {
      segmentIds[row * length + i] = i < pad ? -1 : 0
      positions[row * length + i] = Math.max(0, i - pad)
    }
  return { ids: all, segmentIds, positions }
}
