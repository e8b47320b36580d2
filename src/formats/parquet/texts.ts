/**
 * Whether the texts of a page fill it. The decoder believes the lengths before them: where one is damaged, texts reach beyond their page, or
 * bytes are left behind the last of them.
 */
import { Damage } from "./damage.ts"
import type { Page } from "./pages.ts"

/** A page in memory: where its bytes lie in a buffer, and how far the texts that are views on it reach. */
interface Filled {
  readonly page: Page
  readonly start: number
  readonly end: number
  reached?: number
}

export class TextBounds {
  readonly #all: Array<Filled> = []
  /** By their buffer, of which one may hold several. */
  readonly #within = new WeakMap<ArrayBufferLike, Array<Filled>>()
  /** Texts come page by page. */
  #latest: { readonly filled: ReadonlyArray<Filled>; readonly found: Filled } | undefined

  /** `buffer` begins with byte `start` of the file. */
  read(buffer: ArrayBufferLike, start: number, pages: ReadonlyArray<Page>): void {
    for (const page of pages) this.#add(buffer, { page, start: page.start - start, end: page.end - start })
  }

  /** `packed`, the bytes of a page or the last of them, decompressed. */
  unpacked(packed: Uint8Array, bytes: Uint8Array): void {
    const filled = this.#around(packed.buffer, packed.byteOffset + packed.length)
    if (filled === undefined) return
    this.#add(bytes.buffer, { page: filled.page, start: bytes.byteOffset, end: bytes.byteOffset + bytes.length })
  }

  /** The bytes of a text: a view on its page, or a copy where its parts lie apart. */
  text({ buffer, byteOffset, length }: Uint8Array): void {
    const filled = this.#around(buffer, byteOffset)
    if (filled !== undefined) filled.reached = Math.max(filled.reached ?? 0, byteOffset + length)
  }

  /** Throws `Damage` unless the texts of each page end where it does. */
  check(): void {
    for (const { end, page, reached } of this.#all)
      if (page.endsWithText && reached !== undefined && reached !== end)
        throw new Damage(`the texts of a page end ${reached < end ? "before" : "behind"} it`, page.start)
  }

  #add(buffer: ArrayBufferLike, filled: Filled): void {
    this.#all.push(filled)
    const others = this.#within.get(buffer)
    if (others === undefined) this.#within.set(buffer, [filled])
    else others.push(filled)
  }

  /** Some bytes of a page come before each text, so that one may begin at the page's end, but not at its start. */
  #around(buffer: ArrayBufferLike, at: number): Filled | undefined {
    const isAround = ({ end, start }: Filled) => start < at && at <= end
    const filled = this.#within.get(buffer)
    if (filled === undefined) return undefined
    if (filled !== this.#latest?.filled || !isAround(this.#latest.found)) {
      const found = filled.findLast(isAround)
      if (found === undefined) throw new Damage("a text lies outside of its page")
      this.#latest = { filled, found }
    }
    return this.#latest.found
  }
}
