/** An objective of a model whose adapters drop inputs at random: what a micro-batch drops depends on the seed, the step and its number alone, so that a resumed training drops the same. */
import { Effect } from "effect"
import { randomKey } from "../tensor/random.ts"
import type { Objective } from "./objective.ts"

const keyInput = "dropoutKey"

export const withDropout = <E>(objective: Objective<E>, seed: number): Objective<E> => ({
  ...objective,
  inputs: { ...objective.inputs, [keyInput]: { dtype: "i64", shape: [2] } },
  losses: (parameter, input, options) =>
    objective.losses(parameter, input, { ...options, dropoutKey: input(keyInput) }),
  microBatches: (step, state) =>
    Effect.map(objective.microBatches(step, state), parts =>
      parts.map((part, i) => {
        const key = BigInt64Array.from(randomKey(seed, "dropout of adapters", step, i), BigInt)
        return { ...part, inputs: { ...part.inputs, [keyInput]: key } }
      })
    )
})
