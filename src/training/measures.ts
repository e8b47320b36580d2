/** What the log says of every step, whatever is trained: gradients, rates, throughput, memory. Names are the field's. */
import { freemem, totalmem } from "node:os"
import { memoryUsage } from "node:process"
import type { Scalars } from "./log.ts"
import type { MicroBatch } from "./objective.ts"
import type { StepOutcome } from "./trainer.ts"

/** Sums over a step's micro-batches. */
export const amounts = (microBatches: ReadonlyArray<MicroBatch>) => {
  const total = (of: "tokens" | "flops" | "sequences" | "rows") =>
    microBatches.reduce((sum, microBatch) => sum + (microBatch[of] ?? 0), 0)
  return { tokens: total("tokens"), flops: total("flops"), sequences: total("sequences"), rows: total("rows") }
}

export const updateMeasures = (
  { gradientNorm, parameterNorm }: StepOutcome,
  lr: number,
  /** What multiplies the rate of each group of parameters; all 1 without layer-wise decay. */
  rateFactors: ReadonlyArray<number>
): Scalars => ({
  "training/grad_norm": gradientNorm,
  "training/param_norm": parameterNorm,
  "training/grad_to_param_ratio": gradientNorm / parameterNorm,
  "training/lr": lr,
  ...(rateFactors.every(factor => factor === 1)
    ? {}
    : { "llrd/lr_min": lr * Math.min(...rateFactors), "llrd/lr_max": lr * Math.max(...rateFactors) })
})

export const workMeasures = (
  { rows, sequences, tokens }: ReturnType<typeof amounts>,
  /** Since the beginning of the training. */
  tokensSeen: number,
  pace: { readonly tokensPerSecond: number; readonly flopsPerSecond: number },
  /** Operations per second of a matrix product. */
  peak: number
): Scalars => ({
  ...(sequences === 0 || rows === 0
    ? {}
    : { "training/avg_effective_len": tokens / rows, "training/avg_sample_seq_len": tokens / sequences }),
  "consume_tokens(M)": tokensSeen / 1e6,
  "consume_tokens(B)": tokensSeen / 1e9,
  "tokens_per_second(M)": pace.tokensPerSecond / 1e6,
  ...(pace.flopsPerSecond === 0
    ? {}
    : {
        "flops_achieved(T)": pace.flopsPerSecond / 1e12,
        "flops_promised(T)": peak / 1e12,
        mfu: pace.flopsPerSecond / peak
      })
})

export const memoryMeasures = (): Scalars => ({
  "cpu_used_memory(GB)": memoryUsage().rss / 1e9,
  "cpu_available_memory(GB)": freemem() / 1e9,
  "cpu_memory_usage(%)": 100 * (1 - freemem() / totalmem())
})
