/** One text that is decoded block by block in a row of the canvas, and how far it is. */
import { chosenPerStep, type DiffusionDecoding, type Judged, surest } from "./diffusion.ts"

export interface BlockText {
  /** What was written behind the prompt, with the end of text where there is one. */
  readonly tokens: Int32Array
  /** For each token the step that revealed it, from 1. Steps that revealed nothing of the text do not count. */
  readonly revealedAt: ReadonlyArray<number>
  /** Forward passes that the text took, until all tokens before its first end of text were there. */
  readonly forwards: number
}

export interface BlockRowOptions {
  /** `steps` are those of a block. */
  readonly decoding: DiffusionDecoding
  readonly blockSize: number
  readonly mask: number
  readonly eos: number
}

export class BlockRow {
  /** Places of the new tokens on the canvas. */
  readonly start: number
  readonly #end: number
  forwards = 0
  readonly #canvas: Int32Array
  readonly #options: BlockRowOptions
  readonly #revealedAt = new Map<number, number>()
  #block: { readonly start: number; readonly end: number }
  /** Tokens that each step of the block reveals at least, without those that are over. */
  #quotas: ReadonlyArray<number> = []

  constructor(
    canvas: Int32Array,
    { end, start }: { readonly start: number; readonly end: number },
    options: BlockRowOptions
  ) {
    this.start = start
    this.#end = end
    this.#canvas = canvas
    this.#options = options
    this.#block = { start, end: start }
  }

  /** All of them, masks where nothing is revealed yet. */
  get tokens(): Int32Array {
    return this.#canvas.slice(this.start, this.#end)
  }

  /** Whether nothing is missing before the first end of text: what is revealed later cannot change the text. */
  get done(): boolean {
    const { eos, mask } = this.#options
    const missing = this.tokens.indexOf(mask)
    const end = this.tokens.indexOf(eos)
    return missing < 0 || (end >= 0 && end < missing)
  }

  /** Places of the block that are still masked, or of the next block when there are none; nothing when the text is done. */
  masked(): ReadonlyArray<number> {
    if (this.done) return []
    const { end, start } = this.#block
    const left = Array.from({ length: end - start }, (_, i) => start + i).filter(
      place => this.#canvas[place] === this.#options.mask
    )
    if (left.length > 0) return left
    this.#block = { start: end, end: Math.min(this.#end, end + this.#options.blockSize) }
    this.#quotas = chosenPerStep(this.#options.decoding, this.#block.end - end)
    return this.masked()
  }

  /** Reveals as many as the step must of what was judged, the surest, and all that are likely enough besides. */
  reveal(judged: ReadonlyArray<Judged & { readonly likely: boolean }>): void {
    this.forwards++
    const [quota = 0, ...later] = this.#quotas
    this.#quotas = later
    for (const { place, token } of [...surest(judged, quota), ...judged.filter(({ likely }) => likely)]) {
      this.#canvas[place] = token
      this.#revealedAt.set(place, this.forwards)
    }
  }

  text(): BlockText {
    const written = this.#canvas.slice(this.start, this.#block.end)
    const end = written.indexOf(this.#options.eos)
    const tokens = end < 0 ? written : written.subarray(0, end + 1)
    const at = Array.from(tokens, (_, i) => this.#revealedAt.get(this.start + i)!)
    const steps = [...new Set(at)].sort((a, b) => a - b)
    return { tokens, revealedAt: at.map(step => 1 + steps.indexOf(step)), forwards: this.forwards }
  }
}
