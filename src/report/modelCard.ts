/** The card of an adapter that is handed on, `README.md` as the hub shows it: what it is, where it comes from, what was measured, and how it is loaded. */
import { type LikelihoodResult, pointText, rightOf, type TaskResult } from "../evaluation/results.ts"

export interface Card {
  /** What PEFT loads the base by. */
  readonly base: { readonly nameOrPath: string | null; readonly revision: string | null; readonly digest: string }
  readonly adapter: {
    readonly r: number
    readonly alpha: number
    readonly rankStabilised: boolean
    readonly dora: boolean
  }
  /** How the base was quantised while the adapter was trained and measured; undefined where it was dense. */
  readonly quantised: { readonly blockSize: number; readonly doubleQuant: boolean } | undefined
  /** The model that was trained, and the content of its record. */
  readonly trained: { readonly digest: string; readonly record: { readonly [field: string]: unknown } }
  readonly likelihood: LikelihoodResult | undefined
  readonly tasks: ReadonlyArray<TaskResult>
  /** What makes it again. */
  readonly command: string
}

const table = (rows: ReadonlyArray<readonly [name: string, value: string]>): string =>
  ["| | |", "| --- | --- |", ...rows.map(([name, value]) => `| ${name} | ${value} |`)].join("\n")

const counted = (value: unknown): string => (typeof value === "number" ? value.toLocaleString("en-GB") : String(value))

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`

/** Text of Markdown, with the hub's fields in front. */
export const modelCard = ({
  adapter,
  base,
  command,
  likelihood,
  quantised,
  tasks,
  trained: { digest, record }
}: Card): string => {
  const {
    sequences,
    settings = {},
    step,
    tokens,
    trainedParameters
  } = record as {
    readonly sequences?: { readonly digest: string; readonly documents: number; readonly tokens: number }
    readonly settings?: object
    readonly [field: string]: unknown
  }
  const { bound, autoregressiveLoss } = likelihood ?? {}
  const measured = [
    ...(bound === undefined
      ? []
      : [
          [
            "bound of held-out text",
            `${bound.nats.toFixed(3)} ± ${bound.standardError.toFixed(3)} nats per token`
          ] as const,
          ["the same weights from left to right", `${autoregressiveLoss!.value.toFixed(3)} nats per token`] as const
        ]),
    ...tasks.flatMap(({ answers, problems, task }) =>
      answers.map(each => {
        const right = rightOf(each)
        return [
          `${task}, ${pointText(each.point)}`,
          `${right} of ${problems} right (${percent(right / problems)})`
        ] as const
      })
    )
  ]
  const name = base.nameOrPath ?? "its base"
  const scale = adapter.rankStabilised ? "alpha / sqrt(r)" : "alpha / r"
  return `---
${base.nameOrPath === null ? "" : `base_model: ${JSON.stringify(base.nameOrPath)}\n`}library_name: peft
tags: [diffusion-language-model, masked-diffusion, lora]
---

# A masked diffusion language model of ${name}

An adapter of low rank (${adapter.dora ? "DoRA" : "LoRA"}, r = ${adapter.r}, alpha = ${adapter.alpha}, scaled by ${scale}) that turns ${name} into a diffusion language model: it finds masked tokens, all at
once or a few at a time, instead of the next one.

## Where it comes from

${table([
  ["base", `${name}${base.revision === null ? "" : `, revision ${base.revision}`}; artifact ${base.digest}`],
  ...(quantised === undefined
    ? []
    : ([
        [
          "quantised",
          `in NF4, blocks of ${quantised.blockSize}${quantised.doubleQuant ? ", double quantisation" : ""}: so it was trained and measured`
        ]
      ] as const)),
  ["trained model", `artifact ${digest}`],
  ...(sequences === undefined
    ? []
    : ([
        [
          "data",
          `${counted(sequences.documents)} documents, ${counted(sequences.tokens)} tokens; artifact ${sequences.digest}`
        ]
      ] as const)),
  [
    "training",
    `${counted(step)} steps, ${counted(tokens)} tokens read, ${counted(trainedParameters)} parameters trained`
  ]
])}

Made by

\`\`\`sh
${command}
\`\`\`

with these settings:

\`\`\`json
${JSON.stringify(settings, null, 2)}
\`\`\`

## Measured

${measured.length === 0 ? "Nothing was measured of these weights." : table(measured)}

## How it is loaded

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer${quantised === undefined ? "" : ", BitsAndBytesConfig"}

base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(name)}${quantised === undefined ? "" : `,\n    quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=${quantised.doubleQuant ? "True" : "False"})`})
model = PeftModel.from_pretrained(base, "DIRECTORY")
tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")  # with the mask
\`\`\`

${quantised === undefined ? "" : "Over the dense base, or merged into it, the adapter adds the same, but the weights below it are others than those that were measured.\n\n"}These classes predict from left to right. As a diffusion model every token must see what \`diffusion_config.json\` says, and a token is predicted from the state before it where \`token_shift\` is true.
`
}
