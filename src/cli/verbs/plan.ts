/** `pipeline plan`: what a run would do and why, with time and bytes from history; changes nothing. */
import { Effect } from "effect"
import { verb } from "../verb.ts"
import { history, type Past } from "../../ledger/History.ts"
import { nearest } from "../../ledger/Nearest.ts"
import { smallestDifference } from "../../ledger/Why.ts"
import { bytes, count, duration } from "../../pipeline/units.ts"
import * as flags from "../flags.ts"
import { missingEngine, planned } from "../planned.ts"
import { first, styleOf, table } from "../terminal/style.ts"
import { billJson, billLines } from "../text/billText.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

/** Nodes printed one by one; larger plans are summed up by stage. */
const printed = 200

interface Line {
  readonly label: string
  readonly stage: string
  readonly outcome: "hit" | "run" | "unknown"
  readonly reason: string
  readonly past: Past | undefined
}

export const command = verb("plan", {
  about: "Show what would run and why, with estimated time and bytes; changes nothing",
  examples: {
    "pipeline plan compare-50x": "What a run would do now",
    "pipeline plan compare-50x --set tokenize.maxSeqLen=128": "What a changed parameter would cost",
    "pipeline plan d3llm-27b --profile qwen3.6-27b":
      "What a large profile fetches, keeps and needs; works without network"
  },
  takes: {
    pipeline: flags.pipelineName,
    ...flags.planning,
    only: flags.only,
    force: flags.force,
    refresh: flags.refresh
  },
  run: Effect.fn("plan")(function* (args) {
    const { database, resolver, unresolved, wanted } = yield* planned(args.pipeline, args, { unnamed: "unknown" })
    const past = database === undefined ? () => undefined : history(database, wanted)
    const lines = wanted.nodes.map((node): Line => {
      const state = resolver.states[node.id]!
      const base = { label: node.label, stage: node.stage.name }
      if (state._tag === "known") {
        const gone = state.outputs.find(output => output.state !== "present")
        return {
          ...base,
          outcome: "hit",
          reason: gone === undefined ? "" : `its bytes are ${gone.state}; made again if something needs them`,
          past: undefined
        }
      }
      if (state._tag === "unknown") {
        const failed = unresolved.get(node.id)
        if (failed !== undefined)
          return { ...base, outcome: "unknown", reason: failed.message, past: past(node.label, node.stage.name) }
        const first = node.wires.find(wire => resolver.states[wire.node]!._tag !== "known")
        const upstream = first === undefined ? "upstream" : wanted.nodes[first.node]!.label
        return {
          ...base,
          outcome: "unknown",
          reason: `known once ${upstream} has run`,
          past: past(node.label, node.stage.name)
        }
      }
      const components = resolver.components(node)!
      const earlier = database === undefined ? undefined : nearest(database, node.label, components)
      const reason =
        earlier === undefined ? "never run" : smallestDifference(earlier, components, resolver.codeDetail(node)).summary
      return { ...base, outcome: "run", reason, past: past(node.label, node.stage.name) }
    })
    const bill = wanted.bill?.(wanted.nodes, args)
    const lacking = yield* missingEngine(args.engine, wanted.nodes, resolver)
    if (args.json)
      return printJson({
        pipeline: wanted.pipeline,
        profile: wanted.profile,
        nodes: lines,
        ...(lacking === undefined ? {} : { engine: lacking.message }),
        ...(bill === undefined ? {} : { bill: billJson(bill) })
      })
    print(
      ...render(wanted.pipeline, wanted.profile, lines),
      ...(bill === undefined ? [] : billLines(bill, styleOf(stdout()))),
      ...(lacking === undefined
        ? []
        : [`  ${styleOf(stdout()).yellow("!")} ${lacking.at}: ${lacking.message}`, `    ${lacking.advice}`])
    )
  })
})

const render = (pipeline: string, profile: string, lines: ReadonlyArray<Line>): ReadonlyArray<string> => {
  const style = styleOf(stdout())
  const sign = { hit: style.green("hit"), run: style.cyan("run"), unknown: style.yellow("unknown") }
  const estimate = (past: Past | undefined) =>
    past === undefined ? "" : `about ${duration(past.ms)}, ${bytes(Math.round(past.bytes))}`
  const row = ({ label, outcome, past, reason }: Line) => [
    `  ${sign[outcome]}`,
    label,
    outcome === "hit" ? "" : estimate(past),
    style.dim(reason)
  ]
  const of = (outcome: Line["outcome"]) => lines.filter(line => line.outcome === outcome)
  const open = [...of("run"), ...of("unknown")]
  const known = open.flatMap(({ past }) => (past === undefined ? [] : [past]))
  const total =
    open.length === 0
      ? "nothing to do"
      : known.length === 0
        ? "no history to estimate from"
        : `about ${duration(known.reduce((sum, { ms }) => sum + ms, 0))} of work and ${bytes(Math.round(known.reduce((sum, past) => sum + past.bytes, 0)))}${known.length < open.length ? `, and ${open.length - known.length} without history` : ""}`
  return [
    `${style.bold(pipeline)} · profile ${profile} · ${count(of("hit").length)} hit, ${count(of("run").length)} run, ${count(of("unknown").length)} unknown`,
    ...first(lines, printed, shown => table(shown.map(row))),
    `  ${total}`
  ]
}
