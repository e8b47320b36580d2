/** Writes a ledger the way runs do, without running anything: for tests of what reads it. */
import * as Actions from "../../src/ledger/Actions.ts"
import { Database } from "../../src/ledger/Database.ts"
import * as Metrics from "../../src/ledger/Metrics.ts"
import type { ResolvedNode } from "../../src/ledger/Plans.ts"
import * as Runs from "../../src/ledger/Runs.ts"
import { type Manifest, manifestDigest } from "../../src/pipeline/Artifact.ts"
import { canonical, type Digest, type Json, sha256 } from "../../src/pipeline/Digest.ts"
import { actionKey, type KeyComponents } from "../../src/pipeline/Key.ts"

/** An action and what it returned. */
export interface Work {
  readonly label: string
  readonly parameters?: Json
  readonly engine?: string
  /** Modules and packages of its code; the code's digest follows from them. */
  readonly modules?: { readonly [path: string]: string }
  readonly packages?: { readonly [name: string]: string }
  /** Digests by port, or by `port.name`. */
  readonly inputs?: { readonly [port: string]: Digest | ReadonlyArray<Digest> }
  /** The content of each output. */
  readonly outputs?: { readonly [port: string]: string }
  /** Whether its outputs hold what was timed. */
  readonly timed?: boolean
  readonly metrics?: ReadonlyArray<Metrics.MetricValue>
  /** Instead of outputs: how it ended. */
  readonly fails?: string
  readonly ms?: number
}

export interface Done {
  readonly label: string
  readonly key: Digest
  readonly action: number
  /** Digests of the artifacts by port. */
  readonly outputs: { readonly [port: string]: Digest }
}

export const manifestOf = (content: string): Manifest => ({
  kind: "text",
  files: [{ path: "text.txt", sha256: sha256(content), size: Buffer.byteLength(content) }],
  metadata: { letters: content.length }
})

export const componentsFor = (work: Work): KeyComponents => ({
  stage: work.label.split("/")[0]!,
  code: sha256(canonical([work.modules ?? {}, work.packages ?? {}])),
  engine: work.engine ?? "none",
  parameters: canonical(work.parameters ?? {}),
  inputs: Object.entries(work.inputs ?? {}).flatMap(([place, digests]) => {
    const [port, name] = place.split(".") as [string, string | undefined]
    return [digests].flat().map(digest => ({ port, name, digest: digest as Digest }))
  })
})

export const detailOf = (work: Work): string =>
  canonical({ modules: work.modules ?? {}, packages: work.packages ?? {} })

/** One ledger in memory, or in a file. Time passes by a second for each thing that happens. */
export class LedgerScript {
  readonly database: Database
  now = Date.UTC(2026, 0, 1)

  constructor(file = ":memory:") {
    this.database = Database.open(file)
  }

  /** A whole run: `executes` are recorded as executed, `reuses` only as part of the plan. */
  run(options: {
    readonly pipeline?: string
    readonly profile?: string
    readonly command?: string
    readonly tag?: string
    readonly note?: string
    readonly executes?: ReadonlyArray<Work>
    readonly reuses?: ReadonlyArray<Done>
    readonly targets?: ReadonlyArray<Done>
    readonly status?: "done" | "failed" | "running"
    readonly owner?: { readonly host: string; readonly boot: string; readonly pid: number }
  }): { readonly run: number; readonly done: ReadonlyArray<Done> } {
    const pipeline = options.pipeline ?? "demo"
    const profile = options.profile ?? "small"
    const run = Runs.begin(this.database, {
      pipeline,
      profile,
      command: options.command ?? `pipeline run ${pipeline}`,
      program: "1.0.0",
      tag: options.tag,
      note: options.note,
      owner: { id: "owner", host: "elsewhere", boot: "boot", pid: 1, ...options.owner },
      now: this.#tick()
    })
    const done = (options.executes ?? []).map(work => this.execute(run, work))
    if (options.status === "running") return { run, done }
    const nodes = [...(options.reuses ?? []), ...done]
    Runs.finish(this.database, run, {
      status: options.status ?? "done",
      now: this.#tick(),
      nodes: nodes.map((node): ResolvedNode => ({
        label: node.label,
        key: node.key,
        outputs: Object.values(node.outputs)
      })),
      generation: Actions.generation(this.database),
      pipeline,
      profile,
      targets: (options.targets ?? done).flatMap(({ label, outputs }) =>
        Object.entries(outputs).map(([port, digest]) => ({ name: `${label}.${port}`, digest }))
      ),
      executed: done.length,
      reused: options.reuses?.length ?? 0,
      failed: (options.executes ?? []).filter(work => work.fails !== undefined).length,
      skipped: 0,
      executedMs: Number.POSITIVE_INFINITY
    })
    return { run, done }
  }

  /** One execution of an action. */
  execute(run: number, work: Work, remake?: string): Done {
    const components = componentsFor(work)
    const key = actionKey(components)
    return this.database.immediate(() => {
      const action = Actions.ensureAction(this.database, { key, components, codeDetail: detailOf(work) }, this.#tick())
      const attempt =
        1 +
        this.database.get<{ n: number }>(
          "SELECT count(*) AS n FROM execution WHERE action = ? AND run = ?",
          action,
          run
        )!.n
      const execution = Runs.beginExecution(this.database, {
        action,
        run,
        label: work.label,
        attempt,
        now: this.#tick(),
        log: `logs/${run}/${work.label.replaceAll("/", "__")}.${attempt}.log`
      })
      Runs.recordEvents(this.database, run, [
        {
          atMs: this.now,
          type: "started",
          label: work.label,
          data: JSON.stringify({ type: "started", label: work.label, ...(remake === undefined ? {} : { remake }) })
        }
      ])
      this.now += work.ms ?? 0
      if (work.fails !== undefined) {
        Runs.finishExecution(this.database, execution, {
          status: "failed",
          class: "permanent",
          message: work.fails,
          now: this.#tick()
        })
        return { label: work.label, key, action, outputs: {} }
      }
      const outputs = Object.entries(work.outputs ?? { out: `${work.label} ${key}` }).map(([port, content]) => {
        const manifest = manifestOf(content)
        return { port, digest: manifestDigest(manifest), manifest, timed: work.timed ?? false }
      })
      Actions.recordOutputs(this.database, action, execution, outputs, this.now)
      Metrics.record(this.database, action, work.metrics ?? [])
      Runs.finishExecution(this.database, execution, { status: "done", now: this.#tick(), cpuMs: 10, peakKib: 2048 })
      return {
        label: work.label,
        key,
        action,
        outputs: Object.fromEntries(outputs.map(({ digest, port }) => [port, digest]))
      }
    })
  }

  #tick(): number {
    return (this.now += 1000)
  }
}
