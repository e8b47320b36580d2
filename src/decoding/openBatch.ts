/**
 * Texts that are written side by side and come and go: each has a row of the model's memory from when it is admitted until it is done, fails, or is dropped, and whoever waits takes its place (continuous
 * batching; Yu et al. 2022, Orca). Each is at a step of its own, by settings of its own; a step of the batch moves all of them on.
 */
import { Effect } from "effect"

/** A text that is being written. */
export interface OpenText {
  /** Whether nothing is missing. */
  readonly done: boolean
}

/** A text that is to be read when it is done. */
export interface WrittenText extends OpenText {
  /** All of the text: masks where nothing is known yet, and behind its end more ends of text. */
  readonly shown: Int32Array
  /** Tokens that were decoded: all new ones, or those until the text's end where decoding ends with it. */
  readonly decoded: number
  /** How sure the model was of each new token of `shown` when it was revealed (`confidenceOf`), where that is asked for; NaN of what it did not reveal. */
  readonly confidence: Float32Array
  /** Steps that it took so far, a pass each, and passes beside these. */
  readonly forwards: number
  readonly passesBeside: number
}

/** A text in its row. */
export interface Placed<T> {
  readonly row: number
  readonly text: T
}

/** What a step took: forward passes, each of some or all texts, and their time, ms. */
export interface Spent {
  readonly passes: number
  readonly forwardMs: number
}

/** One step of all texts, by whatever decodes them: what it took, and for each text the function that takes in what was found for it. */
export type Advance<T, E> = (
  open: ReadonlyArray<Placed<T>>
) => Effect.Effect<Spent & { readonly take: ReadonlyArray<() => void> }, E>

/** A text after a step. Where it could not take in what was found, the reason why: it is out of the batch, and no other is touched. */
export interface Moved<T> {
  readonly text: T
  readonly failure?: { readonly cause: unknown }
}

export class OpenBatch<T extends OpenText, E> {
  readonly #rows: Array<T | undefined>
  /** A method, so that a batch of some kind of texts is one of texts. */
  readonly #by: { advance(open: ReadonlyArray<Placed<T>>): ReturnType<Advance<T, E>> }
  #spent: Spent = { passes: 0, forwardMs: 0 }

  constructor(rows: number, advance: Advance<T, E>) {
    this.#rows = Array.from({ length: rows }, () => undefined)
    this.#by = { advance }
  }

  /** Of all steps so far. */
  get spent(): Spent {
    return this.#spent
  }

  /** Rows that nobody has. */
  get free(): number {
    return this.#rows.filter(text => text === undefined).length
  }

  /** The texts, by row. */
  get open(): ReadonlyArray<T> {
    return this.#rows.filter(text => text !== undefined)
  }

  /** Gives a text a row. Throws RangeError where none is free. */
  admit(text: T): void {
    const row = this.#rows.indexOf(undefined)
    if (row < 0) throw new RangeError(`all ${this.#rows.length} rows have a text`)
    this.#rows[row] = text
  }

  /** Frees the row of a text, whatever is missing of it. */
  drop(text: T): void {
    const row = this.#rows.indexOf(text)
    if (row >= 0) this.#rows[row] = undefined
  }

  /** Moves all texts on. Those that are done or failed have left. */
  step(): Effect.Effect<ReadonlyArray<Moved<T>>, E> {
    return Effect.suspend(() => {
      const placed = this.#rows.flatMap((text, row) => (text === undefined ? [] : [{ row, text }]))
      return Effect.map(this.#by.advance(placed), ({ forwardMs, passes, take }) => {
        this.#spent = { passes: this.#spent.passes + passes, forwardMs: this.#spent.forwardMs + forwardMs }
        return placed.map(({ row, text }, i): Moved<T> => {
          try {
            take[i]!()
          } catch (cause) {
            this.#rows[row] = undefined
            return { text, failure: { cause } }
          }
          if (text.done) this.#rows[row] = undefined
          return { text }
        })
      })
    })
  }
}

export interface Watching<T, E, R> {
  /** Told of a text after each of its steps, by its number. */
  readonly onStep?: ((text: T, number: number) => Effect.Effect<void, E, R>) | undefined
  /** Told of each text when it is done. */
  readonly onDone?: ((text: T, number: number) => Effect.Effect<void, E, R>) | undefined
}

/** Writes all of some texts: the row of one that is done goes to the next. Dies of what one of them fails by. */
export const writeAll = <T extends OpenText, E, E2 = never, R = never>(
  batch: OpenBatch<T, E>,
  texts: ReadonlyArray<T>,
  { onDone = () => Effect.void, onStep = () => Effect.void }: Watching<T, E2, R> = {}
): Effect.Effect<Spent, E | E2, R> =>
  Effect.gen(function* () {
    const numbers = new Map(texts.map((text, number) => [text, number]))
    const before = batch.spent
    const waiting = texts[Symbol.iterator]()
    for (;;) {
      while (batch.free > 0) {
        const { done, value } = waiting.next()
        if (done === true) break
        if (value.done) yield* onDone(value, numbers.get(value)!)
        else batch.admit(value)
      }
      if (batch.open.length === 0) break
      for (const { failure, text } of yield* batch.step()) {
        if (failure !== undefined) return yield* Effect.die(failure.cause)
        yield* onStep(text, numbers.get(text)!)
        if (text.done) yield* onDone(text, numbers.get(text)!)
      }
    }
    const { forwardMs, passes } = batch.spent
    return { passes: passes - before.passes, forwardMs: forwardMs - before.forwardMs }
  })

/** An answer of the model, and how long it took, ms. */
export const clocked = <A, E>(
  effect: Effect.Effect<A, E>
): Effect.Effect<{ readonly found: A; readonly ms: number }, E> =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.map(effect, found => ({ found, ms: performance.now() - begun }))
  })
