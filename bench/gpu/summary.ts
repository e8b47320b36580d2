/** The figures of bench/gpu as a Markdown document. */
import { countParameters, embeddingKey, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { trainingFlops } from "../../src/models/flops.ts"
import type { Precision } from "../../src/engines/names.ts"
import { nf4Layout, storedBytes } from "../../src/models/parameters.ts"
import { elements } from "../../src/tensor/Tensor.ts"
import { type Measured, type Peaks, quantile, type Task, type TrainingTask } from "./measured.ts"

export interface Contender {
  readonly model: string
  readonly name: string
  readonly task: Omit<Task, "directory">
  /** Or why it could not be measured. */
  readonly measured: Measured | { readonly error: string }
}

export interface Report {
  readonly date: string
  readonly command: string
  /** With sizes that only prove that every step works. */
  readonly dry: boolean
  readonly machine: { readonly [what: string]: string | number | null }
  readonly peaks: Peaks
  readonly contenders: ReadonlyArray<Contender>
}

/** Bytes of a parameter as products read it. */
const readBytes = { f32: 4, tf32: 4, bf16: 2, f16: 2 } as const satisfies { readonly [P in Precision]: number }

/** Bytes of all that a pass reads of a model; of an embedding that is not the head too, it reads next to nothing. */
const bytesRead = (config: ModelConfig, precision: Precision): number =>
  parameterSpecs(config)
    .filter(({ name }) => config.tiedHead || name !== embeddingKey)
    .reduce(
      (sum, spec) =>
        sum + (nf4Layout(spec) === undefined ? readBytes[precision] * elements(spec.shape) : storedBytes([spec])),
      0
    )

/** Passes as large as the forward pass that a training step cannot do without: where the weights stay as they are, none for their gradients; one for the teacher. */
const passesOf = ({ alignedLayers }: TrainingTask, adapts: boolean): number =>
  (adapts ? 2 : 3) + (alignedLayers === undefined ? 0 : 1)

/** The least milliseconds that the device needs: the slower of its products and its memory. A training step is bound by its products. */
const roofline = (
  work: string,
  { adapter, config, decode, precision, tokens, trainings }: Contender["task"],
  peaks: Peaks
) => {
  const perSecond = peaks.matmul[precision]
  if (perSecond === undefined) return undefined
  const adapts = adapter !== undefined
  const flops = (lengths: ReadonlyArray<number>, causal: boolean): number =>
    trainingFlops(config, lengths, { causal }) / 3
  const step = trainings[work]
  if (step !== undefined)
    return (1000 * passesOf(step, adapts) * flops(Array<number>(step.rows).fill(step.length), !adapts)) / perSecond
  const length = work === "forward" ? tokens.length : decode.prompt.length + decode.newTokens
  const forward = Math.max(flops([length], false) / perSecond, bytesRead(config, precision) / peaks.bandwidth)
  return 1000 * forward * forwardsOf(work, decode)
}

const forwardsOf = (work: string, { newTokens }: Contender["task"]["decode"]): number =>
  work === "forward" ? 1 : Math.min(Number(work.split("/")[1]), newTokens)

/** Tokens that the work makes or reads. */
const tokensOf = (work: string, { decode, tokens, trainings }: Contender["task"]): number => {
  const step = trainings[work]
  if (step !== undefined) return step.rows * step.length
  return work === "forward" ? tokens.length : decode.newTokens
}

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
const parameters = (config: ModelConfig): string => `${(countParameters(config) / 1e6).toFixed(0)} M parameters`

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

/** What the figures of a model are of. */
const described = ({ adapter, config, decode, precision, tokens, trainings }: Contender["task"]): string => {
  const nf4 = config.linear?.nf4
  const aligned = Object.values(trainings).some(({ alignedLayers }) => alignedLayers !== undefined)
  const steps = Object.entries(trainings).filter(([, { alignedLayers }]) => alignedLayers === undefined)
  const rows = [...new Set(steps.map(([, { length, rows: count }]) => `${count} x ${length}`))].join(" and ")
  const trained =
    adapter === undefined
      ? `AdamW in f32, ${rows} tokens`
      : `adapters of rank ${adapter.r} of all linear maps of the layers, masked diffusion, layers computed again, ${rows} tokens`
  return [
    `${parameters(config)}, products in ${precision}, batch 1.`,
    ...(nf4 === undefined
      ? []
      : [
          `Linear maps of the layers in NF4, blocks of ${nf4.blockSize}, with double quantisation; numbers are made up.`
        ]),
    `Forward: ${tokens.length} tokens. Decode: ${decode.newTokens} new tokens after ${decode.prompt.length}, temperature 0, by entropy.`,
    ...(rows === "" ? [] : [`Training: ${trained}.`]),
    ...(aligned
      ? ["`aligned/N`: the same, aligned at N layers with the live base, the adapter left out; by this program alone."]
      : []),
    "A share compares the least time by the measured peaks."
  ].join(" ")
}

/** What alignment adds to a training step of the same tokens without it. */
const alignmentTable = (own: ReadonlyArray<Contender>): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const { measured, name, task } of own) {
    if ("error" in measured) continue
    const entries = Object.entries(task.trainings)
    const costs = entries.flatMap(([work, step]) => {
      const alone = entries.find(
        ([, { alignedLayers, length, rows }]) =>
          alignedLayers === undefined && length === step.length && rows === step.rows
      )?.[0]
      const [times, without] = [measured.milliseconds[work], measured.milliseconds[alone ?? ""]]
      if (step.alignedLayers === undefined || alone === undefined || times === undefined || without === undefined)
        return []
      const [peak, ofAlone] = [measured.peakBytes[work] ?? undefined, measured.peakBytes[alone] ?? undefined]
      return [
        {
          layers: step.alignedLayers,
          time: quantile(times, 0.5) / quantile(without, 0.5),
          ...(peak === undefined || ofAlone === undefined ? {} : { memory: { peak, ofAlone, added: peak - ofAlone } })
        }
      ]
    })
    if (costs.length === 0) continue
    lines.push(
      row(["aligned layers", "contender", "time to none", "peak memory", "to none", "added"]),
      row(["---:", "---", "---:", "---:", "---:", "---:"]),
      ...costs.map(({ layers, memory, time }) =>
        row([
          String(layers),
          name,
          `${time.toFixed(2)} x`,
          ...(memory === undefined
            ? ["", "", ""]
            : [gibibytes(memory.peak), `${(memory.peak / memory.ofAlone).toFixed(2)} x`, gibibytes(memory.added)])
        ])
      ),
      ""
    )
    const [few, all] = [costs[0]!, costs.at(-1)!]
    if (few.memory === undefined || all.memory === undefined)
      lines.push("Peaks of memory are told by a GPU alone; there was none.", "")
    else if (few !== all && few.memory.added > 0)
      lines.push(
        `Alignment at ${all.layers} layers adds ${(all.memory.added / few.memory.added).toFixed(1)} times the memory of that at ${few.layers}.`,
        ""
      )
  }
  return lines
}

export const markdown = ({ command, contenders, date, dry, machine, peaks }: Report): string => {
  const lines = [
    dry ? "# A dry run: figures that mean nothing" : "# GPU figures",
    "",
    `Made by \`${command}\` on ${date}; all in one run. ${Object.entries(machine)
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
    const works = new Set(
      own.flatMap(({ measured }) => ("error" in measured ? [] : Object.keys(measured.milliseconds)))
    )
    lines.push(
      `## ${model}`,
      "",
      described(own[0]!.task),
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
            bytes === undefined || bytes === null ? "" : gibibytes(bytes),
            `${(median / quantile(first, 0.5)).toFixed(2)} x`
          ])
        )
      }
    lines.push("")
    lines.push(...alignmentTable(own))
    for (const { measured, name } of own) {
      const errors = "error" in measured ? { "": measured.error } : measured.errors
      for (const [work, error] of Object.entries(errors))
        lines.push(`Not measured: ${[name, work].filter(part => part !== "").join(", ")}: ${error.split("\n")[0]}`, "")
    }
  }
  return `${lines.join("\n").trimEnd()}\n`
}
