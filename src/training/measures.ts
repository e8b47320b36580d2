/** What the log says of every step, whatever is trained: gradients, rates, throughput, memory. Names are the field's. */
import { freemem, totalmem } from "node:os"
import { memoryUsage } from "node:process"
import type { Scalars } from "./log.ts"
import type { MicroBatch } from "./objective.ts"
import type { StepOutcome } from "./trainer.ts"
import { greatest, least } from "../pipeline/lists.ts"

/** Operations of all matrix products since the beginning of the training, in 10^12: counted on the programs, and so in the same way for every method. */
export const computeMeasure = "consume_flops(T)"

/**
 * Sums over a step's micro-batches. `computed`: operations of the matrix products that a micro-batch's program computes, padding and recomputation
 * among them; they stand in for `flops` where a micro-batch does not say itself how many operations it takes.
 */
export const amounts = (microBatches: ReadonlyArray<MicroBatch>, computed: number) => {
  const total = (of: "tokens" | "flops" | "sequences" | "rows", otherwise = 0) =>
    microBatches.reduce((sum, microBatch) => sum + (microBatch[of] ?? otherwise), 0)
  return {
    tokens: total("tokens"),
    labelled: microBatches.reduce((sum, { labelled, tokens }) => sum + (labelled ?? tokens), 0),
    flops: total("flops", computed),
    computed: computed * microBatches.length,
    sequences: total("sequences"),
    rows: total("rows")
  }
}

export const updateMeasures = (
  { gradientNorm, parameterNorm }: StepOutcome,
  lr: number,
  /** What multiplies the rate of each group of parameters; all 1 without layer-wise decay. */
  rateFactors: ReadonlyArray<number>,
  /** Whether only adapters are trained: the field has names of its own for them. */
  adapts: boolean
): Scalars => {
  const norms = {
    grad_norm: gradientNorm,
    param_norm: parameterNorm,
    grad_to_param_ratio: gradientNorm / parameterNorm
  }
  const under = (prefix: string): Scalars =>
    Object.fromEntries(Object.entries(norms).map(([name, value]) => [`${prefix}/${name}`, value]))
  return {
    ...under("training"),
    ...(adapts ? under("qlora") : {}),
    "training/lr": lr,
    ...(rateFactors.every(factor => factor === 1)
      ? {}
      : { "llrd/lr_min": lr * least(rateFactors), "llrd/lr_max": lr * greatest(rateFactors) })
  }
}

export const workMeasures = (
  { rows, sequences, tokens }: ReturnType<typeof amounts>,
  /** Since the beginning of the training: tokens that were read, those that were predicted, and operations that were computed. */
  since: { readonly tokens: number; readonly labelled: number; readonly flops: number },
  pace: { readonly tokensPerSecond: number; readonly flopsPerSecond: number },
  /** Operations per second of a matrix product, as it was measured. What the training itself has reached is possible, too. */
  measured: number
): Scalars => {
  const peak = Math.max(measured, pace.flopsPerSecond)
  return {
    ...(sequences === 0 || rows === 0
      ? {}
      : { "training/avg_effective_len": tokens / rows, "training/avg_sample_seq_len": tokens / sequences }),
    "consume_tokens(M)": since.tokens / 1e6,
    "consume_tokens(B)": since.tokens / 1e9,
    "consume_labelled_tokens(M)": since.labelled / 1e6,
    [computeMeasure]: since.flops / 1e12,
    "tokens_per_second(M)": pace.tokensPerSecond / 1e6,
    ...(pace.flopsPerSecond === 0
      ? {}
      : {
          "flops_achieved(T)": pace.flopsPerSecond / 1e12,
          "flops_promised(T)": peak / 1e12,
          mfu: pace.flopsPerSecond / peak
        })
  }
}

export const memoryMeasures = (): Scalars => ({
  "cpu_used_memory(GB)": memoryUsage().rss / 1e9,
  "cpu_available_memory(GB)": freemem() / 1e9,
  "cpu_memory_usage(%)": 100 * (1 - freemem() / totalmem())
})
