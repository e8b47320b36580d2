/** Blocks of sequences whose mean states are aligned: a coarser goal than the state of each token. */
import type { HostArray } from "../../../tensor/dtype.ts"
import { type Averaging, normalisers } from "../../../training/objective.ts"
import type { Placed } from "../masks/corruptedRows.ts"

export const subgoalInputs = (places: number) =>
  ({
    /** Number of the block that each place belongs to. */
    blocks: { dtype: "i32", shape: [places] },
    /** Share of each place in the mean of its block; 0 for padding. */
    blockShares: { dtype: "f32", shape: [places] },
    /** Share of each block in the mean; 0 where there is none. */
    blockWeights: { dtype: "f32", shape: [places] },
    subgoalWeight: { dtype: "f32", shape: [] }
  }) as const

/** Token i of a sequence of n is in block floor(i count / n): contiguous blocks, as equal as they can be. A sequence shorter than that has one for each token. */
export const blockOf = (i: number, n: number, count: number): number => Math.floor((i * Math.min(n, count)) / n)

/** The blocks of the sequences of each micro-batch. All of a step's weigh the same. */
export const subgoals = (
  microBatches: ReadonlyArray<ReadonlyArray<Pick<Placed, "start" | "size">>>,
  { averaging, count, places }: { readonly averaging: Averaging; readonly count: number; readonly places: number }
): ReadonlyArray<{ readonly [name: string]: HostArray }> => {
  const made = microBatches.map(placed => {
    const blocks = new Int32Array(places)
    const blockShares = new Float32Array(places)
    let total = 0
    for (const { size, start } of placed) {
      const sizes = new Map<number, number>()
      for (let i = 0; i < size; i++) {
        const block = total + blockOf(i, size, count)
        blocks[start + i] = block
        sizes.set(block, (sizes.get(block) ?? 0) + 1)
      }
      for (let i = 0; i < size; i++) blockShares[start + i] = 1 / sizes.get(blocks[start + i]!)!
      total += sizes.size
    }
    return { blocks, blockShares, total }
  })
  const shares = normalisers(
    made.map(({ total }) => total),
    averaging
  )
  return made.map(({ blockShares, blocks, total }, m) => ({
    blocks,
    blockShares,
    blockWeights: new Float32Array(places).fill(shares[m]!, 0, total)
  }))
}
