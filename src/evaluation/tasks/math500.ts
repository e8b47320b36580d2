/** MATH-500: 500 problems of MATH (Hendrycks et al. 2021, arXiv:2103.03874), chosen by Lightman et al. 2023 (arXiv:2305.20050). Answers are compared as the authors of MATH do, and lm-evaluation-harness' task hendrycks_math500 after them. */
import { Schema } from "effect"
import { endsAt, type Outcome, type Suite } from "./Task.ts"

/** What the last `\boxed{…}` holds, or `\fbox{…}` where there is none; `\boxed 5` ends at a dollar sign. */
export const lastBoxed = (text: string): string | undefined => {
  const spaced = text.lastIndexOf("\\boxed ")
  if (spaced >= 0) return text.slice(spaced + "\\boxed ".length).split("$")[0]!
  const at = Math.max(text.lastIndexOf("\\boxed{"), -1)
  const start = at >= 0 ? at : text.lastIndexOf("\\fbox{")
  if (start < 0) return undefined
  const open = text.indexOf("{", start)
  let depth = 0
  for (let i = open; i < text.length; i++) {
    if (text[i] === "{") depth++
    if (text[i] === "}" && --depth === 0) return text.slice(open + 1, i)
  }
  return undefined
}

export const MathRow = Schema.Struct({
  problem: Schema.NonEmptyString,
  solution: Schema.String.check(
    Schema.makeFilter(solution =>
      lastBoxed(solution) === undefined ? "must hold its answer in \\boxed{…}" : undefined
    )
  ),
  unique_id: Schema.optionalKey(Schema.String)
})
export type MathRow = typeof MathRow.Type

/** The answer of a response: what is boxed, else the first displayed formula, else what stands between its first and its last dollar sign, else all of it. */
export const answerOf = (response: string): string => {
  const boxed = lastBoxed(response)
  if (boxed !== undefined) return boxed
  const displayed = /\\\[(.+?)\\\]/s.exec(response)?.[1]
  if (displayed !== undefined) return displayed.trim()
  const [first, last] = [response.indexOf("$"), response.lastIndexOf("$")]
  return first < last ? response.slice(first + 1, last) : response
}

/** `\frac12`, `\frac1{72}` and the like with braces. Undefined where a fraction has no second part. */
const bracedFractions = (text: string): string | undefined => {
  const [before, ...parts] = text.split("\\frac")
  let whole = before!
  for (const part of parts) {
    if (part.startsWith("{")) whole += `\\frac${part}`
    else if (part.length < 2) return undefined
    else {
      const [numerator, denominator] = [part[0]!, part[1]!]
      whole += `\\frac{${numerator}}${denominator === "{" ? part.slice(1) : `{${denominator}}${part.slice(2)}`}`
    }
  }
  return whole
}

/** An answer in the one form in which it is compared; throws where its units cannot be told. */
export const normalised = (answer: string): string => {
  let text = answer.replaceAll("\n", "").replaceAll("\\!", "").replaceAll("\\\\", "\\")
  text = text.replaceAll("tfrac", "frac").replaceAll("dfrac", "frac")
  text = text.replaceAll("\\left", "").replaceAll("\\right", "")
  text = text.replaceAll("^{\\circ}", "").replaceAll("^\\circ", "").replaceAll("\\$", "")
  const [value, ...units] = text.split("\\text{ ")
  if (units.length > 1) throw new RangeError("several units")
  text = value!.replaceAll("\\%", "").replaceAll(" .", " 0.").replaceAll("{.", "{0.")
  if (text === "") return text
  if (text.startsWith(".")) text = `0${text}`
  const sides = text.split("=")
  // `x = 5`: the name is not the answer.
  if (sides.length === 2 && sides[0]!.length <= 2) text = sides[1]!
  text = text.replaceAll(/\\sqrt([^{])/g, "\\sqrt{$1}").replaceAll(" ", "")
  text = bracedFractions(text) ?? text
  if (text === "0.5") return "\\frac{1}{2}"
  const fraction = /^(-?\d+)\/(-?\d+)$/.exec(text)
  return fraction === null || [fraction[1]!, fraction[2]!].some(part => String(BigInt(part)) !== part)
    ? text
    : `\\frac{${fraction[1]}}{${fraction[2]}}`
}

/** Whether two answers are the same to MATH's authors. */
export const equivalent = (a: string, b: string): boolean => {
  try {
    return normalised(a) === normalised(b)
  } catch {
    return a === b
  }
}

const judged = (response: string, solution: string): Outcome =>
  response.trim() === "" ? "missing" : equivalent(answerOf(response), lastBoxed(solution)!) ? "right" : "wrong"

export const math500: Suite<MathRow> = {
  name: "math-500",
  row: MathRow,
  runs: false,
  problems: 500,
  protocols: {
    "lm-eval": {
      about:
        "lm-evaluation-harness' hendrycks_math500: no worked examples, the likeliest tokens, one sample, 512 new tokens; the boxed answer, or what comes nearest to one, compared as MATH's authors do",
      settings: { samples: 1, ks: [1], newTokens: 512, steps: 512, decoding: { temperature: 0, alg: "entropy" } },
      items: rows =>
        rows.map(({ problem, solution, unique_id: id }, i) => ({
          id: id ?? `MATH-500/${i}`,
          prompt: `Problem: ${problem}\nAnswer:`,
          answer: lastBoxed(solution)!,
          ...endsAt(["Problem:"]),
          judge: completion => ({ outcome: judged(completion, solution) })
        }))
    }
  }
}

export const suites = { "math-500": math500 } as const
