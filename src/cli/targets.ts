/** What a finished run shows: the files that its targets consist of, copied out of the store where people can open them. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import type { Digest } from "../pipeline/Digest.ts"
import { short } from "../pipeline/Digest.ts"
import type { Cache } from "../runner/Cache.ts"
import type { Resolver } from "../runner/Resolver.ts"
import { fromHere } from "../pipeline/Origin.ts"
import { styleOf } from "./terminal/style.ts"
import { stdout } from "./terminal/terminal.ts"
import { typed } from "./typed.ts"

export interface ShowTargets {
  readonly cache: Cache
  readonly resolver: Resolver
  readonly json: boolean
  readonly run: number
}

/** The files of a report, of which the first that it has is printed: in short, or whole. */
const shownFiles = ["headline.md", "report.md"]

/** The file to open for all that a report says. */
const wholeFiles = ["report.html", "report.md"]

/** Copies every target of kind `report` to `cache/reports/PIPELINE/DIGEST/`, and prints what it says, or the headline of that. */
export const showTargets = ({ cache, json, resolver, run }: ShowTargets) =>
  Effect.gen(function* () {
    const { plan, states } = resolver
    const style = styleOf(process.stderr)
    for (const { name, node, output } of plan.targets) {
      const state = states[node]!
      const kind = plan.nodes[node]!.stage.outputs[output]
      const found = state._tag === "known" ? state.outputs.find(({ port }) => port === output) : undefined
      if (found === undefined || kind?.name !== "report") continue
      const directory = yield* materialise(cache, plan.pipeline, found.digest)
      const shown = shownFiles.map(file => join(directory, file)).find(path => existsSync(path))
      if (json) stdout().write(`${JSON.stringify({ type: "target", run, name, digest: found.digest, directory })}\n`)
      else if (shown !== undefined) stdout().write(`\n${readFileSync(shown, "utf8").trimEnd()}\n`)
      const whole = wholeFiles.map(file => join(directory, file)).find(path => existsSync(path)) ?? directory
      process.stderr.write(
        `\n${style.dim("report")}  ${fromHere(whole)}   ${style.dim("why")}  ${typed(`pipeline why ${plan.pipeline}`)}   ${style.dim("trace")}  ${typed(`pipeline lineage ${short(found.digest)}`)}\n`
      )
    }
  })

const materialise = (cache: Cache, pipeline: string, digest: Digest) =>
  Effect.gen(function* () {
    const directory = join(cache.paths.root, "reports", pipeline, short(digest))
    const manifest = yield* cache.store.readManifest(digest)
    // What is there already was copied from the same digest; a run that executes nothing writes nothing.
    if (manifest.files.some(({ path }) => !existsSync(join(directory, path))))
      yield* cache.store.materialiseArtifact(manifest, directory)
    return directory
  })
