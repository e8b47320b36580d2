/** Which metrics a reader wants first: what a result is worth, then how it was learnt, then what it cost. */

const worth = /^eval\/|\/(aup|bound_difference|p_corrected)$/
const cost = /^(cpu_|gpu_|inference\/|flops_|consume_|mfu$|tokens_per_second)/

/** 0 for quality, 2 for cost, 1 for what lies between. */
export const metricRank = (name: string): 0 | 1 | 2 => (cost.test(name) ? 2 : worth.test(name) ? 0 : 1)

/** Sorted by rank; within a rank in the order given. */
export const byWorth = <A>(all: ReadonlyArray<A>, nameOf: (one: A) => string): ReadonlyArray<A> =>
  all.toSorted((a, b) => metricRank(nameOf(a)) - metricRank(nameOf(b)))
