/** The tables of the report on benchmarks, as Markdown and pages show them. */
import type { SampleSettings, Share } from "../evaluation/suiteFiles.ts"
import { short } from "../pipeline/Digest.ts"
import { count } from "../pipeline/units.ts"
import { aupTable, type Table, withInterval } from "./answers.ts"
import { interval, percent, significant } from "./format.ts"
import { type Decoded, problemsText, type SuiteReport, written } from "./suiteReport.ts"

const shareText = ({ high, low, value }: Share): string =>
  low === undefined || high === undefined ? percent(value) : `${percent(value)} ${interval(percent, low, high)}`

/** Settings that are in every decoding, or that tables say otherwise. */
const elsewhere = new Set(["eps", "algTemp", "schedule"])

/** How a decoding went, in short. */
export const decodingText = ({ decoding, draftTokens, method, steps }: SampleSettings): string =>
  [
    method === "autoregressive" ? "token by token" : `${steps} ${steps === 1 ? "step" : "steps"}`,
    ...(draftTokens === undefined ? [] : [`${draftTokens} drafted`]),
    ...Object.entries(decoding).flatMap(([name, value]) =>
      elsewhere.has(name) || (name === "temperature" && value === 0)
        ? []
        : [name === "alg" ? String(value) : `${name} ${String(value)}`]
    )
  ].join(", ")

/** A table for each benchmark, with a line for each way in which it was answered. */
export const scoresTables = ({ entries }: SuiteReport): ReadonlyArray<Table> =>
  entries.map(entry => {
    if ("chosen" in entry) {
      const { accuracy, accuracyByLength, problems } = entry.chosen
      return {
        columns: [`${entry.name}, chosen by likelihood, ${count(problems)} problems`, "right"],
        lines: [
          ["the likeliest", shareText(accuracy)],
          ["the likeliest by length", shareText(accuracyByLength)]
        ]
      }
    }
    const { curves, decodings, name } = entry
    const [{ result: first }] = decodings as readonly [Decoded]
    const ks = [...new Set(decodings.flatMap(({ result }) => result.passAtK.map(({ k }) => k)))].sort((a, b) => a - b)
    const rates = new Map(curves.flatMap(({ points }) => points.map(({ decoded, rate }) => [decoded, rate])))
    return {
      columns: [
        `${name}, protocol ${first.protocol}, ${problemsText(first)}`,
        ...ks.map(k => `pass@${k}`),
        "tokens/forward",
        "tok/s"
      ],
      lines: decodings.map(decoded => {
        const { passAtK, settings, tokensPerSecond } = decoded.result
        const how = settings === undefined ? "made elsewhere" : decodingText(settings)
        return [
          decoded.name === undefined ? how : `${decoded.name}: ${how}`,
          ...ks.map(k => {
            const found = passAtK.find(each => each.k === k)
            return found === undefined ? "" : shareText(found)
          }),
          withInterval(significant, rates.get(decoded)),
          tokensPerSecond === undefined ? "n/a" : significant(tokensPerSecond)
        ]
      })
    }
  })

/** AUP of each kind of decoding, on each benchmark that was decoded in several ways; undefined where none was. */
export const curvesTable = (report: SuiteReport): Table | undefined => {
  const several = written(report).filter(({ curves }) => curves.flatMap(({ points }) => points).length > 1)
  if (several.length === 0) return undefined
  const labels = [...new Set(several.flatMap(({ curves }) => curves.map(({ label }) => label)))]
  return aupTable({
    tasks: several.map(({ name }) => name),
    rows: labels.map(label => ({
      label,
      tasks: several.map(({ curves }) => curves.find(curve => curve.label === label))
    }))
  })
}

const valueText = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

/** The settings of a benchmark's decodings, by name; and what else each score depends on. */
export const settingsTable = ({ decodings }: ReturnType<typeof written>[number]): Table => {
  const all = decodings.map(({ digest, result: { byProblem, python, settings, weights } }) => {
    const { decoding, ...others } = settings ?? { decoding: {} }
    const fields: ReadonlyArray<readonly [name: string, value: unknown]> = [
      ["samples", byProblem[0]?.samples],
      ...Object.entries(others),
      ...Object.entries(decoding).map(([name, value]) => [`decoding.${name}`, value] as const)
    ]
    const beside: typeof fields = [
      ["python", python],
      ["weights", weights === undefined ? undefined : short(weights)],
      ["score", short(digest)]
    ]
    return { fields: new Map(fields), beside: new Map(beside) }
  })
  const shown = (name: string, value: unknown): string =>
    value === undefined ? "" : name === "drafter" ? short(String(value)) : valueText(value)
  const lines = (part: "fields" | "beside") => {
    const names = [...new Set(all.flatMap(own => [...own[part].keys()]))]
    return names
      .map(name => [name, ...all.map(own => shown(name, own[part].get(name)))])
      .filter(([, ...values]) => values.some(value => value !== ""))
  }
  return {
    columns: ["setting", ...decodings.map(({ name, result }) => name ?? result.protocol)],
    lines: [...lines("fields"), ...lines("beside")]
  }
}
