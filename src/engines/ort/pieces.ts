/**
 * What a buffer on a device holds: pieces, each a part of an immutable tensor. A device's tensors begin at the start of their memory, so that
 * a view of a buffer cannot be a tensor over its memory; instead the buffer is cut where tensors are written.
 */
export interface Sized {
  /** In elements. */
  readonly size: number
}

export interface Piece<T> {
  /** Within the buffer, in elements. */
  readonly offset: number
  readonly length: number
  /** Zeros where there is none. */
  readonly tensor: T | undefined
  /** Where the piece begins within its tensor. */
  readonly at: number
}

export interface Owner<T> {
  /** Called once for every piece that comes to be a part of a tensor … */
  readonly hold: (tensor: T) => void
  /** … and for every one that no longer is. */
  readonly release: (tensor: T) => void
}

/** Whether a piece is all of its tensor. */
export const isWhole = <T extends Sized>({ at, length, tensor }: Piece<T>): boolean =>
  tensor !== undefined && at === 0 && length === tensor.size

export class Pieces<T extends Sized> {
  readonly #owner: Owner<T>
  /** Ascending, without gaps. */
  #pieces: ReadonlyArray<Piece<T>>

  /** Zeros. */
  constructor(length: number, owner: Owner<T>) {
    this.#owner = owner
    this.#pieces = length === 0 ? [] : [{ offset: 0, length, tensor: undefined, at: 0 }]
  }

  /** What lies within a range, cut at its ends. */
  within(offset: number, length: number): ReadonlyArray<Piece<T>> {
    return this.#pieces.flatMap(piece => cut(piece, offset, offset + length))
  }

  /** Puts a tensor of `length` elements, or zeros, in the place of what lies within a range. */
  write(offset: number, length: number, tensor: T | undefined): void {
    if (length === 0) return
    const end = offset + length
    const made: Piece<T> = { offset, length, tensor, at: 0 }
    const before = this.#pieces.flatMap(piece => cut(piece, 0, offset))
    const after = this.#pieces.flatMap(piece => cut(piece, end, Infinity))
    const kept = [...before, made, ...after]
    for (const { tensor: held } of kept) if (held !== undefined) this.#owner.hold(held)
    this.clear()
    this.#pieces = kept
  }

  /** Gives up all that it holds. */
  clear(): void {
    for (const { tensor } of this.#pieces) if (tensor !== undefined) this.#owner.release(tensor)
    this.#pieces = []
  }
}

/** The part of a piece that lies within a range, if any. */
const cut = <T>(piece: Piece<T>, start: number, end: number): ReadonlyArray<Piece<T>> => {
  const from = Math.max(start, piece.offset)
  const to = Math.min(end, piece.offset + piece.length)
  if (from >= to) return []
  if (from === piece.offset && to === piece.offset + piece.length) return [piece]
  return [{ offset: from, length: to - from, tensor: piece.tensor, at: piece.at + from - piece.offset }]
}
