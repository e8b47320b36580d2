/** What a run would do now, and why: a pipeline is evaluated and planned, which takes the whole program. */
import { Effect } from "effect"
import { type Asked, reasonFor } from "../../ledger/Why.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { closest } from "../../pipeline/Suggestion.ts"
import { attempt } from "../look.ts"
import { planned } from "../planned.ts"
import { isMeant } from "../../pipeline/Plan.ts"
import { first } from "./whyPast.ts"
import { annotate, settingsOf } from "./whySource.ts"
import type { WhyNode } from "../text/whyText.ts"

type NextArgs = Parameters<typeof planned>[1] & { readonly name: string }

export const explainNext = (args: NextArgs, path: string | undefined, rest: string, limit: number) =>
  Effect.gen(function* () {
    const slash = args.name.indexOf("/")
    const [name, label] =
      path !== undefined
        ? [path, rest.slice(1)]
        : slash === -1
          ? [args.name, ""]
          : [args.name.slice(0, slash), args.name.slice(slash + 1)]
    const pattern = label === "" ? undefined : label
    const { database, resolver, wanted } = yield* planned(name, args)
    const meant = wanted.nodes.filter(node => pattern === undefined || isMeant(node.label, pattern))
    if (pattern !== undefined && meant.length === 0) {
      const labels = wanted.nodes.map(node => node.label)
      const near = closest(pattern, [...labels, ...labels.map(each => each.split("/")[0]!)])
      return yield* new ConfigError({
        at: args.name,
        message: `pipeline ${wanted.pipeline} has no stage ${pattern}`,
        advice: near === undefined ? `its stages: ${labels.slice(0, 20).join(", ")}` : `did you mean ${near}?`
      })
    }
    const shown = meant.filter(node => {
      const state = resolver.states[node.id]!
      return pattern !== undefined || state._tag !== "known" || state.outputs.some(output => output.state !== "present")
    })
    const nodes = yield* attempt(() =>
      first(
        shown.map(node => (): WhyNode => {
          const state = resolver.states[node.id]!
          const base = { label: node.label, run: undefined }
          if (state._tag === "unknown") {
            const open = node.wires.filter(wire => resolver.states[wire.node]!._tag !== "known")
            return {
              ...base,
              outcome: "unknown",
              waits: [...new Set(open.map(wire => wanted.nodes[wire.node]!.label))]
            }
          }
          if (state._tag === "known") {
            const gone = state.outputs.find(output => output.state !== "present")?.state
            return { ...base, outcome: gone === undefined ? "hit" : "gone", key: state.key, gone }
          }
          const components = resolver.components(node)!
          const asked: Asked = { label: node.label, key: state.key, components, codeDetail: resolver.codeDetail(node) }
          const reason = database === undefined ? ({ _tag: "first" } as const) : reasonFor(database, asked)
          return { ...base, outcome: "would run", key: state.key, reason }
        }),
        limit,
        undefined
      )
    )
    if (nodes.length === 0)
      return [
        { label: wanted.pipeline, outcome: "nothing", run: undefined, reused: wanted.nodes.length } satisfies WhyNode
      ]
    return yield* annotate(nodes, { database, pipeline: name, plan: wanted, settings: settingsOf(args.set) })
  })
