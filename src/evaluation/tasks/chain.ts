/** The tasks `chain` and `fill`: sums modulo 10 that are worked out step by step, from the first value on or back from the last. */
import { type Outcome, promptedTask } from "./Task.ts"

interface Step {
  readonly sign: string
  readonly operand: string
}

interface Question {
  /** Undefined where it is to be found. */
  readonly first: string | undefined
  readonly steps: ReadonlyArray<Step>
  readonly last: string | undefined
}

const stepsIn = (text: string): ReadonlyArray<Step> =>
  [...text.matchAll(/([+*-]) (\d)/g)].map(([, sign, operand]) => ({ sign: sign!, operand: operand! }))

const forward = (prompt: string): Question | undefined => {
  const [, first, rest] = /^Mod 10, (\d)((?: [+*-] \d)+):$/.exec(prompt) ?? []
  return rest === undefined ? undefined : { first, steps: stepsIn(rest), last: undefined }
}

const backward = (prompt: string): Question | undefined => {
  const [, rest, last] = /^Fill \?((?: [+-] \d = \?)* [+-] \d) = (\d):$/.exec(prompt) ?? []
  return rest === undefined ? undefined : { first: undefined, steps: stepsIn(rest), last }
}

const step = / ([+*-]) (\d) = (\d)/g
const form = new RegExp(`^\\d(?:${step.source})+$`)

/** Every value must follow from the one before, and steps and given values be those that were asked. */
const check = ({ first, last, steps }: Question, response: string): Outcome => {
  if (!form.test(response)) return "missing"
  const written = [...response.matchAll(step)]
  const isAsked =
    written.length === steps.length &&
    written.every(([, sign, operand], i) => sign === steps[i]!.sign && operand === steps[i]!.operand)
  if (!isAsked || (first ?? response[0]) !== response[0] || (last ?? response.at(-1)) !== response.at(-1))
    return "wrong"
  let value = Number(response[0])
  for (const [, sign, operand, result] of written) {
    const by = Number(operand)
    const exact = sign === "+" ? value + by : sign === "-" ? value - by : value * by
    if ((exact - Number(result)) % 10 !== 0) return "wrong"
    value = Number(result)
  }
  return "right"
}

export const chain = promptedTask("chain", { example: "Mod 10, 3 + 4 - 1:", read: forward, check, answerTokens: 24 })
export const fill = promptedTask("fill", {
  example: "Fill ? + 4 = ? - 1 = 6:",
  read: backward,
  check,
  answerTokens: 24
})
