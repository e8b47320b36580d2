/** Runs whole pipelines inside the test's process: everything is real but the processes of the actions. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import type { Executor } from "../../src/executors/Executor.ts"
import type { Manifest } from "../../src/pipeline/Artifact.ts"
import { evaluate, type Pipeline } from "../../src/pipeline/Pipeline.ts"
import type { Override } from "../../src/pipeline/PlanBuilder.ts"
import { isStage } from "../../src/pipeline/Stage.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { execute } from "../../src/runner/Child.ts"
import type { RunEvent } from "../../src/runner/Events.ts"
import { isAlive, newOwner } from "../../src/runner/Machine.ts"
import { objectPorts } from "../../src/runner/Objects.ts"
import { plan as planRun } from "../../src/runner/Planning.ts"
import { ledgerOf } from "../../src/runner/Ports.ts"
import { run } from "../../src/runner/Run.ts"
import { Slots } from "../../src/runner/Slots.ts"
import { none } from "../../src/store/Faults.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { untouched } from "../../src/store/Store.ts"
import { keepCode, recallCode } from "./rememberedCode.ts"

/** A directory of the test's own, and how to remove it. */
export const temporaryDirectory = (): { readonly path: string; readonly remove: () => void } => {
  const path = mkdtempSync(join(tmpdir(), "pipeline-test-"))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

const inThisProcess = (executed: RunPipelineOptions["executed"]): Executor => ({
  name: "in this process",
  run: (job, onProgress) =>
    Effect.tap(
      execute(
        job.directory,
        async ({ export: name, module }) => {
          const stage = ((await import(module)) as Record<string, unknown>)[name]
          if (!isStage(stage)) throw new Error(`${name} of ${module} is no stage`)
          return stage
        },
        onProgress
      ),
      () => Effect.sync(() => executed?.(job.directory))
    )
})

export interface Ran {
  readonly status: "done" | "failed"
  readonly executed: number
  readonly events: ReadonlyArray<RunEvent>
  /** Labels that were executed, sorted. */
  readonly labels: ReadonlyArray<string>
  readonly failures: ReadonlyArray<Extract<RunEvent, { readonly type: "failed" }>>
  /** The manifest of a node's output. */
  readonly manifest: (label: string) => Manifest
  /** The digest of a node's first output. */
  readonly digest: (label: string) => string
  /** A file of a node's output, as bytes and as UTF-8; nothing where there is none. */
  readonly bytes: (label: string, file: string) => Buffer
  readonly text: (label: string, file: string) => string
  readonly metric: (label: string, name: string) => number | undefined
  /** Values of a metric that a node gave step by step. */
  readonly series: (label: string, name: string) => ReadonlyArray<number>
}

export interface RunPipelineOptions {
  readonly cache: string
  readonly layers?: ReadonlyArray<string>
  readonly profile?: string
  readonly overrides?: ReadonlyArray<Override>
  readonly refresh?: boolean
  /** Numeric class of the engine. */
  readonly engine?: string
  /** Called between planning and running. */
  readonly afterPlanning?: () => void
  /** Called when an action's work is done and before the runner looks at it, with its private directory. */
  readonly executed?: (directory: string) => void
}

export const runPipeline = async (pipeline: Pipeline, options: RunPipelineOptions): Promise<Ran> => {
  const layers = options.layers ?? []
  const cache = Cache.open({ root: options.cache, layers })
  const events: Array<RunEvent> = []
  const plan = evaluate(pipeline, { profile: options.profile, overrides: options.overrides ?? [] })
  recallCode(cache.database, plan)
  const { codes, look, resolver } = await Effect.runPromise(
    planRun({
      plan,
      database: cache.database,
      writable: true,
      store: cache.store,
      engine: options.engine ?? "none",
      dist: undefined,
      refresh: options.refresh ?? false
    })
  )
  keepCode(cache.database, plan)
  options.afterPlanning?.()
  const result = await Effect.runPromise(
    run({
      ports: {
        ledger: ledgerOf(cache.database),
        disk: nodeDisk,
        ...objectPorts(cache.store, nodeDisk),
        look,
        executor: inThisProcess(options.executed),
        owner: newOwner(),
        alive: isAlive,
        slots: new Slots({ cpus: 2, memoryMiB: 4096, gpus: [] }),
        emit: event => Effect.sync(() => void events.push(event)),
        faults: none,
        paths: cache.paths,
        layers,
        locate: codes.locate
      },
      resolver,
      keepGoing: false,
      command: "test",
      program: "test"
    })
  )
  // To look must change nothing: what is damaged stays for others to find.
  const looked = untouched(cache.store, nodeDisk)
  const manifests = new Map<string, Manifest>()
  const digests = new Map<string, string>()
  const files = new Map<string, Buffer>()
  for (const node of plan.nodes) {
    const state = resolver.states[node.id]!
    if (state._tag !== "known") continue
    const manifest = await Effect.runPromise(looked.readManifest(state.outputs[0]!.digest))
    manifests.set(node.label, manifest)
    digests.set(node.label, state.outputs[0]!.digest)
    for (const file of manifest.files) {
      const bytes = await Effect.runPromise(Effect.result(looked.read(file.sha256)))
      if (bytes._tag === "Success") files.set(`${node.label} ${file.path}`, Buffer.from(bytes.success))
    }
  }
  const metrics = new Map(
    cache.database
      .all<{ label: string; name: string; value: number }>(
        "SELECT DISTINCT execution.label, metric.name, metric.value FROM metric JOIN execution ON execution.action = metric.action WHERE metric.value IS NOT NULL AND execution.run = ?",
        result.run
      )
      .map(({ label, name, value }) => [`${label} ${name}`, value])
  )
  const points = cache.database.all<{ label: string; name: string; value: number }>(
    "SELECT DISTINCT execution.label, metric.name, point.step, point.value FROM point JOIN metric ON metric.id = point.metric JOIN execution ON execution.action = metric.action WHERE execution.run = ? ORDER BY point.step",
    result.run
  )
  cache.database.close()
  return {
    status: result.status,
    executed: result.executed,
    events,
    labels: events.flatMap(event => (event.type === "finished" ? [event.label] : [])).sort(),
    failures: events.flatMap(event => (event.type === "failed" ? [event] : [])),
    manifest: label => {
      const found = manifests.get(label)
      if (found === undefined) throw new Error(`${label} has no result; there are ${[...manifests.keys()].join(", ")}`)
      return found
    },
    digest: label => digests.get(label) ?? "",
    bytes: (label, file) => files.get(`${label} ${file}`) ?? Buffer.alloc(0),
    text: (label, file) => files.get(`${label} ${file}`)?.toString("utf8") ?? "",
    metric: (label, name) => metrics.get(`${label} ${name}`),
    series: (label, name) =>
      points.flatMap(point => (point.label === label && point.name === name ? [point.value] : []))
  }
}
