/**
 * Records the results of all stages of the no-op pipeline as a run would, without starting their processes:
 * a cold run of 100,000 trivial actions costs minutes, and is not what the comparison measures.
 * Run as: node bench/noop/seed.ts CACHE (with NOOP_SHAPE and NOOP_COUNT as for the pipeline).
 */
import { Effect } from "effect"
import * as Actions from "../../src/ledger/Actions.ts"
import * as Runs from "../../src/ledger/Runs.ts"
import { manifestDigest, type Manifest } from "../../src/pipeline/Artifact.ts"
import { evaluate, type Pipeline } from "../../src/pipeline/Pipeline.ts"
import { resolveOurselves } from "../../src/runner/ourselves.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { newOwner } from "../../src/runner/Machine.ts"
import { plan as planRun } from "../../src/runner/Planning.ts"

resolveOurselves()
const [root] = process.argv.slice(2)
if (root === undefined) throw new Error("usage: node bench/noop/seed.ts CACHE")
const { default: pipeline } = (await import("./pipeline.ts")) as { default: Pipeline }
const cache = Cache.open({ root, layers: [] })
const plan = evaluate(pipeline)
const { resolver } = await Effect.runPromise(
  planRun({
    plan,
    database: cache.database,
    writable: true,
    store: cache.store,
    engine: "none",
    dist: undefined,
    refresh: false
  })
)
const stored = await Effect.runPromise(cache.store.put("hello\n"))
const manifest: Manifest = { kind: "text", files: [{ path: "text", ...stored }], metadata: {} }
const digest = manifestDigest(manifest)
await Effect.runPromise(cache.store.putManifest(manifest))
const now = Date.now()
const outputs = [{ port: "text", digest, state: "present" }] as const
const run = Runs.begin(cache.database, {
  pipeline: plan.pipeline,
  profile: plan.profile,
  command: "seed",
  program: "seed",
  owner: newOwner(),
  now
})
cache.database.immediate(() => {
  for (const node of plan.nodes) {
    const components = resolver.components(node)!
    const [id] = [node.id]
    resolver.resolve([id])
    const state = resolver.states[id]!
    if (state._tag !== "miss") throw new Error(`${node.label} is not new: seed an empty cache`)
    const action = Actions.ensureAction(
      cache.database,
      { key: state.key, components, codeDetail: resolver.codeDetail(node) },
      now
    )
    const execution = Runs.beginExecution(cache.database, { action, run, label: node.label, attempt: 1, now, log: "" })
    Actions.recordOutputs(cache.database, action, execution, [{ port: "text", digest, manifest }], now)
    Runs.finishExecution(cache.database, execution, { status: "done", now: now + 1 })
    resolver.settle(id, state.key, outputs)
  }
})
const keyOf = (id: number) => {
  const state = resolver.states[id]!
  return state._tag === "known" ? state.key : undefined
}
Runs.finish(cache.database, run, {
  status: "done",
  generation: Actions.generation(cache.database),
  now,
  nodes: plan.nodes.map(({ id, label }) => ({ label, key: keyOf(id), outputs: [digest] })),
  pipeline: plan.pipeline,
  profile: plan.profile,
  targets: [],
  executed: plan.nodes.length,
  reused: 0,
  failed: 0,
  skipped: 0,
  executedMs: Number.POSITIVE_INFINITY
})
cache.database.close()
