/** Which sequences each step of a training reads: every epoch all of them, in an order of its own, packed into rows. */
import { permutation, randomKey } from "../tensor/random.ts"
import { packRows, type Rows } from "./packing.ts"

export interface EpochSettings {
  readonly seed: number
  /** Tokens of a row. */
  readonly capacity: number
  readonly rowsPerStep: number
}

export interface Epochs {
  /** Steps of the first so many epochs; rows that fill no step are left out. */
  readonly steps: (epochs: number) => number
  /** The rows of a step (from 0), whatever epoch it lies in. */
  readonly rows: (step: number) => Rows
}

export const makeEpochs = (lengths: ReadonlyArray<number>, { capacity, rowsPerStep, seed }: EpochSettings): Epochs => {
  const all: Array<Rows> = []
  const epoch = (e: number): Rows =>
    (all[e] ??= packRows(lengths, permutation(randomKey(seed, "order of sequences", e), lengths.length), { capacity }))
  const stepsOf = (e: number): number => {
    const steps = Math.floor(epoch(e).length / rowsPerStep)
    if (steps === 0)
      throw new RangeError(
        `the data fill ${epoch(e).length} ${epoch(e).length === 1 ? "row" : "rows"} of ${capacity} tokens, a step needs ${rowsPerStep} (global_batch_size): more documents (train_size), shorter rows (max_seq_len) or smaller steps are needed`
      )
    return steps
  }
  return {
    steps: epochs => Array.from({ length: epochs }, (_, e) => stepsOf(e)).reduce((sum, steps) => sum + steps, 0),
    rows: step => {
      let within = step
      let e = 0
      for (; within >= stepsOf(e); e++) within -= stepsOf(e)
      return epoch(e).slice(within * rowsPerStep, (within + 1) * rowsPerStep)
    }
  }
}
