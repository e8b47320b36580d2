/** The figures of bench/gpu as a Markdown document. */
import { countParameters, type ModelConfig } from "../../src/models/config.ts"
import { trainingFlops } from "../../src/models/flops.ts"
import type { Precision } from "../../src/engines/names.ts"
import { type Measured, type Peaks, quantile, type Task } from "./measured.ts"

export interface Contender {
  readonly model: string
  readonly name: string
  readonly task: Omit<Task, "directory">
  /** Or why it could not be measured. */
  readonly measured: Measured | { readonly error: string }
}

export interface Report {
  readonly date: string
  /** With sizes that only prove that every step works. */
  readonly dry: boolean
  readonly machine: { readonly [what: string]: string | number | null }
  readonly peaks: Peaks
  readonly contenders: ReadonlyArray<Contender>
}

/** Bytes of a parameter as products read it. */
const readBytes = { f32: 4, tf32: 4, bf16: 2, f16: 2 } as const satisfies { readonly [P in Precision]: number }

/** The least milliseconds that the device needs: the slower of its products and its memory. A training step is bound by its products. */
const roofline = (work: string, { config, decode, precision, tokens, training }: Contender["task"], peaks: Peaks) => {
  const perSecond = peaks.matmul[precision]
  if (perSecond === undefined) return undefined
  const flops = (lengths: ReadonlyArray<number>): number =>
    trainingFlops(config, lengths, { causal: work === "training" })
  if (work === "training") return (1000 * flops(Array(training!.rows).fill(training!.length))) / perSecond
  const length = work === "forward" ? tokens.length : decode.prompt.length + decode.newTokens
  const forward = Math.max(
    flops([length]) / 3 / perSecond,
    (readBytes[precision] * countParameters(config)) / peaks.bandwidth
  )
  return 1000 * forward * forwardsOf(work, decode)
}

const forwardsOf = (work: string, { newTokens }: Contender["task"]["decode"]): number =>
  work === "forward" ? 1 : Math.min(Number(work.split("/")[1]), newTokens)

/** Tokens that the work makes or reads. */
const tokensOf = (work: string, { decode, tokens, training }: Contender["task"]): number =>
  work === "forward" ? tokens.length : work === "training" ? training!.rows * training!.length : decode.newTokens

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
const parameters = (config: ModelConfig): string => `${(countParameters(config) / 1e6).toFixed(0)} M parameters`

export const markdown = ({ contenders, date, dry, machine, peaks }: Report): string => {
  const lines = [
    dry ? "# A dry run: figures that mean nothing" : "# GPU figures",
    "",
    `Made by \`node bench/gpu/run.ts\` on ${date}; all in one run. ${Object.entries(machine)
      .map(([what, value]) => `${what} ${value}`)
      .join(", ")}.`,
    "",
    row(["measured peak", ""]),
    row(["---", "---:"]),
    ...Object.entries(peaks.matmul).map(([precision, perSecond]) =>
      row([`matrix product, ${precision}`, `${(perSecond / 1e12).toFixed(1)} TFLOP/s`])
    ),
    row(["memory, read and written", `${(peaks.bandwidth / 1e9).toFixed(0)} GB/s`]),
    ""
  ]
  for (const model of new Set(contenders.map(each => each.model))) {
    const own = contenders.filter(each => each.model === model)
    const works = Object.keys(
      own.flatMap(({ measured }) => ("error" in measured ? [] : [measured.milliseconds]))[0] ?? {}
    )
    const { decode, precision, tokens, training } = own[0]!.task
    lines.push(
      `## ${model}`,
      "",
      `${parameters(own[0]!.task.config)}, products in ${precision}, batch 1. Forward: ${tokens.length} tokens. Decode: ${decode.newTokens} new tokens after ${decode.prompt.length}, temperature 0, by entropy.${training === undefined ? "" : ` Training: AdamW in f32, ${training.rows} x ${training.length} tokens.`} A share compares the least time by the measured peaks.`,
      "",
      row(["work", "contender", "ms (median)", "p10–p90", "tok/s", "of the roofline", "peak memory", "to the first"]),
      row(["---", "---", "---:", "---:", "---:", "---:", "---:", "---:"])
    )
    for (const work of works)
      for (const { measured, name, task } of own) {
        if ("error" in measured) continue
        const times = measured.milliseconds[work]
        if (times === undefined) continue
        const median = quantile(times, 0.5)
        const first = own.flatMap(each =>
          "error" in each.measured ? [] : [each.measured.milliseconds[work] ?? []]
        )[0]!
        const least = roofline(work, task, peaks)
        const bytes = measured.peakBytes[work]
        lines.push(
          row([
            work,
            name,
            median.toFixed(2),
            `${quantile(times, 0.1).toFixed(2)}–${quantile(times, 0.9).toFixed(2)}`,
            ((1000 * tokensOf(work, task)) / median).toFixed(0),
            least === undefined ? "" : `${((100 * least) / median).toFixed(0)} %`,
            bytes === undefined || bytes === null ? "" : `${(bytes / 2 ** 30).toFixed(1)} GiB`,
            `${(median / quantile(first, 0.5)).toFixed(2)} x`
          ])
        )
      }
    lines.push("")
    for (const { measured, name } of own)
      if ("error" in measured) lines.push(`Not measured: ${name}: ${measured.error.split("\n")[0]}`, "")
  }
  return `${lines.join("\n").trimEnd()}\n`
}
