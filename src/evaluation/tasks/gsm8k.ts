/** GSM8K (Cobbe et al. 2021, arXiv:2110.14168): word problems whose answer is a number, read from a response by the rules of lm-evaluation-harness' task gsm8k. */
import { Schema } from "effect"
import { endsAt, type Outcome, type Protocol, type Suite } from "./Task.ts"

/** The answer ends in `#### ` and the number. */
const marked = /#### (-?[0-9.,]+)/

export const Gsm8kRow = Schema.Struct({
  question: Schema.NonEmptyString,
  answer: Schema.String.check(Schema.isPattern(marked, { message: 'must end in "#### " and a number' }))
})
export type Gsm8kRow = typeof Gsm8kRow.Type

/** Numbers and what looks like them; the last counts. */
const numbers = /(-?[$0-9.,]{2,})|(-?[0-9]+)/g

/** What is left of an answer where commas, dollar signs, everything up to `#### ` and a full stop at the end do not count. */
export const plainNumber = (text: string): string =>
  text
    .replaceAll(",", "")
    .replaceAll("$", "")
    .replace(/[^]*#### /, "")
    .replace(/\.$/, "")
    .toLowerCase()

/** The number that a response gives behind `#### `. */
export const markedAnswer = (response: string): string | undefined => marked.exec(response)?.[1]

/** The last number in a response. */
export const lastNumber = (response: string): string | undefined => [...response.matchAll(numbers)].at(-1)?.[0].trim()

const judge =
  (read: (response: string) => string | undefined) =>
  (response: string, answer: string): Outcome => {
    const found = read(response)
    return found === undefined ? "missing" : plainNumber(found) === plainNumber(answer) ? "right" : "wrong"
  }

const protocol = (how: string, read: (response: string) => string | undefined): Protocol<Gsm8kRow> => ({
  about: `lm-evaluation-harness' gsm8k, ${how}; no worked examples (its five are drawn from the training part), the likeliest tokens, one sample, 256 new tokens`,
  settings: { samples: 1, ks: [1], newTokens: 256, steps: 256, decoding: { temperature: 0, alg: "entropy" } },
  items: rows =>
    rows.map(({ answer, question }, i) => ({
      id: `GSM8K/${i}`,
      prompt: `Question: ${question}\nAnswer:`,
      answer: markedAnswer(answer)!,
      ...endsAt(["Question:", "</s>", "<|im_end|>"]),
      judge: completion => ({ outcome: judge(read)(completion, answer) })
    }))
})

export const gsm8k: Suite<Gsm8kRow> = {
  name: "gsm8k",
  row: Gsm8kRow,
  runs: false,
  problems: 1319,
  protocols: {
    flexible: protocol("flexible-extract: the last number of the response counts", lastNumber),
    strict: protocol("strict-match: the number behind the first #### counts", markedAnswer)
  }
}

export const suites = { gsm8k } as const
