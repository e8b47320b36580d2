/** One simulated `pipeline run`: the real runner on ports that can freeze, fail, and stop answering for good. */
import { join } from "node:path"
import { Cause, Clock, Deferred, Effect, Exit, type Fiber, Schema } from "effect"
import type { Ended, Executor, Job } from "../../src/executors/Executor.ts"
import * as Actions from "../../src/ledger/Actions.ts"
import { LedgerError } from "../../src/ledger/LedgerError.ts"
import type { Owner } from "../../src/ledger/Leases.ts"
import { latestSnapshot } from "../../src/ledger/Plans.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import type { Plan, PlanNode } from "../../src/pipeline/Plan.ts"
import type { AnyStage } from "../../src/pipeline/Stage.ts"
import { StageError } from "../../src/pipeline/StageError.ts"
import { noteDamage } from "../../src/runner/Cache.ts"
import type { RunEvent } from "../../src/runner/Events.ts"
import { objectPorts } from "../../src/runner/Objects.ts"
import { ledgerOf, type Ports, type Seen } from "../../src/runner/Ports.ts"
import * as InputChecks from "../../src/runner/InputChecks.ts"
import { readers } from "../../src/runner/Readers.ts"
import { decodeRequest, encodeResult, requestFile, resultFile } from "../../src/runner/Request.ts"
import { type CodeOf, Resolver } from "../../src/runner/Resolver.ts"
import { run, type RunResult } from "../../src/runner/Run.ts"
import { Slots } from "../../src/runner/Slots.ts"
import { outputWriter } from "../../src/runner/Writers.ts"
import type { Disk } from "../../src/store/Disk.ts"
import { StorageError } from "../../src/store/StorageError.ts"
import * as Store from "../../src/store/Store.ts"
import * as stages from "./simulatedStages.ts"
import { paths, root, type SimulatedExecution, type World } from "./simulatedWorld.ts"

/** A defect planted into a process: its ports, or its slots, made worse. */
export interface Plant {
  readonly ports?: (ports: Ports) => Ports
  readonly slots?: (slots: Slots) => Slots
}

const stageNamed: { readonly [name: string]: AnyStage } = Object.fromEntries(
  [stages.source, stages.mix, stages.pair, stages.split, stages.fold].map(stage => [stage.name, stage as AnyStage])
)

/** The code of a stage in one of its versions: a name and a number, as what code does to keys is tested with real files. */
const codeOf = (version: number): CodeOf => ({
  digest: sha256(`code ${version}`),
  detail: JSON.stringify({ modules: { "stage.ts": String(version) }, packages: {} })
})

/** How long after a disturbance an expired lease surprises nobody: a lease's life and some. */
const memoryMs = 60_000

/** Slots that may fail before they are taken, and while they are held. */
class DefectiveSlots extends Slots {
  readonly #defect: <A, E>(operate: () => Effect.Effect<A, E>) => Effect.Effect<A, E>
  constructor(defect: <A, E>(operate: () => Effect.Effect<A, E>) => Effect.Effect<A, E>, capacity: Slots["capacity"]) {
    super(capacity)
    this.#defect = defect
  }
  override with: Slots["with"] = (wanted, body) =>
    this.#defect(() => super.with(wanted, held => this.#defect(() => body(held) as never))) as never
}

export const defectivePorts = [
  "disk",
  "ledger",
  "look",
  "executor",
  "work",
  "emit",
  "locate",
  "faults",
  "slots"
] as const
export type DefectivePort = (typeof defectivePorts)[number]

export class SimulatedProcess {
  readonly name: string
  readonly owner: Owner
  readonly slots: Slots
  readonly events: Array<RunEvent> = []
  readonly resolver: Resolver
  readonly plan: Plan
  readonly keepGoing: boolean
  /** Stopped for good in the middle of something; nothing of it runs on. */
  crashed = false
  /** How it ended, unless it crashed. */
  exit: Exit.Exit<RunResult, LedgerError> | undefined
  /** The runner (not its actions) stands still until then, as if suspended. */
  frozenUntil = 0
  /** Calls of ports that it makes before it crashes. */
  stepsLeft = Number.POSITIVE_INFINITY
  /** A port that throws, or dies of what nobody foresaw, and the share of its calls that do. */
  defects: { readonly port: DefectivePort; readonly share: number } | undefined
  /** Shares of the calls that are refused. */
  diskTrouble = 0
  ledgerTrouble = 0
  readonly ended = Deferred.makeUnsafe<void>()
  readonly #world: World
  /** The code of each stage, as this process knows it. */
  readonly #versions = new Map<string, number>()
  readonly #ports: Ports
  #fiber: Fiber.Fiber<unknown, unknown> | undefined
  #goneAt = Number.POSITIVE_INFINITY
  #disturbedAt = Number.NEGATIVE_INFINITY

  constructor(world: World, plan: Plan, plant: Plant | undefined, keepGoing = world.chance(0.6)) {
    this.#world = world
    const pid = world.processes.length + 1
    this.name = `run ${pid}`
    this.owner = {
      id: `owner-${pid}`,
      host: world.chance(0.7) ? "here" : "elsewhere",
      boot: `boot-${world.boot}`,
      pid
    }
    this.plan = plan
    this.keepGoing = keepGoing
    const slots = new DefectiveSlots(operate => this.#defect("slots", operate), {
      cpus: world.between(1, 4),
      memoryMiB: world.between(300, 2000),
      gpus: []
    })
    this.slots = plant?.slots?.(slots) ?? slots
    const { database } = world
    for (const { name } of Object.values(stageNamed)) this.#versions.set(name, world.versionOf(name).version)
    this.resolver = new Resolver({
      plan,
      codeOf: node => codeOf(this.#versions.get(node.stage.name)!),
      identityOf: () => undefined,
      engine: "none",
      lookup: keys => Actions.lookup(database, keys),
      generation: Actions.generation(database),
      snapshot: latestSnapshot(database, plan.pipeline, plan.profile)
    })
    this.resolver.resolveAll()
    world.processes.push(this)
    const ports = this.#makePorts()
    this.#ports = plant?.ports?.(ports) ?? ports
  }

  start(): void {
    const { keepGoing, resolver } = this
    this.#world.tell(this.name, () => `starts ${this.plan.pipeline} on ${this.owner.host}`)
    const running = run({ ports: this.#ports, resolver, keepGoing, command: this.name, program: "simulated" }).pipe(
      Effect.onExit(exit => Effect.sync(() => this.#end(exit)))
    )
    this.#fiber = Effect.runFork(Effect.provideService(running, Clock.Clock, this.#world.time.clock), {
      scheduler: this.#world.time.scheduler
    })
  }

  #end(exit: Exit.Exit<RunResult, LedgerError>): void {
    if (this.crashed) return
    this.#world.tell(this.name, () => `ends: ${Exit.isSuccess(exit) ? exit.value.status : Cause.pretty(exit.cause)}`)
    this.exit = exit
    Deferred.doneUnsafe(this.ended, Effect.void)
  }

  /** Its process is gone at once, or remains a zombie for a while. */
  crash(): void {
    if (this.crashed || this.exit !== undefined) return
    const world = this.#world
    world.tell(this.name, () => "CRASHES")
    this.crashed = true
    this.#goneAt = world.time.now + (world.chance(0.5) ? 0 : world.between(0, 20_000))
    for (const execution of world.executions) if (execution.process === this) execution.running = false
    Deferred.doneUnsafe(this.ended, Effect.void)
    world.checkPresent(`after ${this.name} crashed`)
  }

  freeze(ms: number): void {
    this.#world.tell(this.name, () => `freezes for ${ms} ms`)
    this.frozenUntil = this.#world.time.now + ms
    this.#disturbedAt = this.frozenUntil
  }

  interrupt(): void {
    this.#world.tell(this.name, () => "Ctrl-C")
    this.#fiber?.interruptUnsafe()
  }

  isEnded(): boolean {
    return this.crashed || this.exit !== undefined
  }

  /** Whether the system knows no process of this id any more. */
  isGone(): boolean {
    return this.exit !== undefined || (this.crashed && this.#world.time.now >= this.#goneAt)
  }

  wasDisturbed(): boolean {
    return this.#world.time.now - this.#disturbedAt < memoryMs || this.exit !== undefined
  }

  /** Passed before every call of a port by the runner itself. */
  readonly #gate: Effect.Effect<void> = Effect.suspend(() => {
    if (this.crashed) return Effect.never
    if (--this.stepsLeft <= 0) {
      this.crash()
      return Effect.never
    }
    const wait = this.frozenUntil - this.#world.time.now
    if (wait > 0) return Effect.andThen(Effect.sleep(wait), this.#gate)
    return Effect.void
  })

  /** Throws where a defect is due: half of the time before there is an effect, half of the time within it. */
  #defect<A, E>(port: DefectivePort, operate: () => Effect.Effect<A, E>): Effect.Effect<A, E> {
    const { defects } = this
    if (this.#world.calm || defects?.port !== port || !this.#world.chance(defects.share)) return operate()
    this.#world.tell(this.name, () => `meets a defect of ${port}`)
    const defect = new Error(`simulated defect of ${port}`)
    if (this.#world.chance(0.5)) throw defect
    return Effect.die(defect)
  }

  /** Passed by the processes of actions: they do not freeze with the runner, but die with it. */
  readonly #childGate: Effect.Effect<void> = Effect.suspend(() => (this.crashed ? Effect.never : Effect.void))

  #guarded(gate: Effect.Effect<void>, port: DefectivePort): Disk {
    const { disk } = this.#world
    const trouble = Effect.suspend(() => {
      if (this.#world.calm || !this.#world.chance(this.diskTrouble)) return Effect.void
      const code = this.#world.chance(0.5) ? "ENOSPC" : "EIO"
      return Effect.fail(new StorageError({ code, path: root, operation: "use", detail: "simulated" }))
    })
    const before = <A, E>(operate: Effect.Effect<A, E>) =>
      this.#defect(port, () => Effect.andThen(gate, Effect.andThen(trouble, operate)))
    return {
      write: (path, content) => before(disk.write(path, content)),
      append: (path, options) =>
        Effect.map(before(disk.append(path, options)), file => ({
          write: bytes => before(file.write(bytes)),
          sync: before(file.sync),
          close: file.close
        })),
      read: path => before(disk.read(path)),
      readRange: (path, offset, length) => before(disk.readRange(path, offset, length)),
      hash: path => before(disk.hash(path)),
      stat: (path, options) => before(disk.stat(path, options)),
      readdir: path => before(disk.readdir(path)),
      mkdir: path => before(disk.mkdir(path)),
      rename: (from, to) => before(disk.rename(from, to)),
      link: (from, to) => before(disk.link(from, to)),
      copy: (from, to) => before(disk.copy(from, to)),
      unlink: path => before(disk.unlink(path)),
      rmdir: path => before(disk.rmdir(path)),
      chmod: (path, mode) => before(disk.chmod(path, mode)),
      syncFile: path => before(disk.syncFile(path)),
      syncDirectory: path => before(disk.syncDirectory(path)),
      free: path => before(disk.free(path))
    }
  }

  #look({ stage }: PlanNode): Seen {
    const { edits, version } = this.#world.versionOf(stage.name)
    this.#versions.set(stage.name, version)
    // As a file beside the code would be: every write is seen, also one that brings back what was there.
    return { code: codeOf(version), identity: undefined, files: [[`${stage.name}.ts`, String(edits)]] }
  }

  #makePorts(): Ports {
    const world = this.#world
    const ledger = ledgerOf(world.database)
    const disk = this.#guarded(this.#gate, "disk")
    const store = Store.make({
      root,
      disk,
      aside: damage => ledger(database => world.watch(this, () => noteDamage(database, damage, this.#world.time.now)))
    })
    const busy = Effect.suspend(() => {
      if (world.calm || !world.chance(this.ledgerTrouble)) return Effect.void
      this.#disturbedAt = world.time.now
      return Effect.fail(new LedgerError({ code: "SQLITE_BUSY", file: ":memory:", message: "simulated" }))
    })
    return {
      ledger: use =>
        this.#defect("ledger", () =>
          Effect.andThen(
            this.#gate,
            Effect.andThen(
              busy,
              ledger(database => world.watch(this, () => use(database)))
            )
          )
        ),
      disk,
      ...objectPorts(store, disk),
      look: node =>
        this.#defect("look", () =>
          Effect.andThen(
            this.#gate,
            Effect.sync(() => this.#look(node))
          )
        ),
      executor: this.#executor(),
      owner: this.owner,
      alive: pid => !(world.processes[pid - 1]?.isGone() ?? true),
      slots: this.slots,
      emit: event =>
        Effect.sync(() => {
          this.events.push(event)
          if (event.type !== "progress") world.tell(this.name, () => JSON.stringify(event))
        }).pipe(Effect.andThen(Effect.suspend(() => this.#defect("emit", () => Effect.void)))),
      faults: () => this.#defect("faults", () => this.#gate),
      paths,
      layers: [],
      locate: ({ stage }) =>
        Effect.runSync(this.#defect("locate", () => Effect.succeed({ module: "simulated", export: stage.name })))
    }
  }

  #executor(): Executor {
    const world = this.#world
    return {
      name: "simulated",
      run: (job, onProgress) =>
        this.#defect("executor", () => Effect.void).pipe(
          Effect.andThen(
            Effect.suspend(() => {
              const execution: SimulatedExecution = {
                process: this,
                label: job.label,
                token: Number(job.directory.split(".").at(-1)),
                running: true
              }
              world.executions.push(execution)
              // An exception of its beginning ends it like any other.
              return Effect.suspend(() => this.#act(job, onProgress)).pipe(
                // It is asked to stop, and takes its time.
                Effect.onInterrupt(() => Effect.sleep(world.between(0, 9000))),
                Effect.ensuring(Effect.sync(() => void (execution.running = false))),
                Effect.tap(() => this.#gate)
              )
            })
          )
        )
    }
  }

  /** What comes of one attempt: mostly its result, sometimes one of the many ways in which it can fail or lie. */
  #act(job: Job, onProgress: Parameters<Executor["run"]>[1]): Effect.Effect<Ended> {
    const world = this.#world
    const work = Effect.suspend(() => this.#work(job, onProgress))
    const slowly = Effect.suspend(() => Effect.sleep(world.between(0, 8000)))
    const fail = (ended: Ended) => Effect.as(slowly, ended)
    const fate = world.calm ? 1 : world.random()
    if (fate < 0.04)
      return fail({ _tag: "Failed", class: "transient", message: `${job.label} is unlucky`, advice: "wait" })
    if (fate < 0.06) return fail({ _tag: "Failed", class: "permanent", message: `${job.label} is wrong` })
    if (fate < 0.1) return Effect.timeoutOrElse(work, dieAfter(world.between(0, 5000)))
    if (fate < 0.12 && job.label.startsWith("mix")) return Effect.never
    if (fate < 0.14) return Effect.andThen(work, this.#lie(job))
    if (fate < 0.15)
      return Effect.map(this.#request(job), ({ inputs }) => ({
        _tag: "Failed" as const,
        class: "damaged" as const,
        message: `${job.label} sees ghosts`,
        ...(inputs[0] === undefined ? {} : { artifact: inputs[0].digest, object: inputs[0].digest })
      })).pipe(Effect.orDie)
    return work
  }

  #request(job: Job) {
    return Effect.map(this.#guarded(this.#childGate, "work").read(join(job.directory, requestFile)), bytes =>
      decodeRequest(Buffer.from(bytes).toString())
    )
  }

  /** What src/runner/Child.ts does, on this disk. */
  #work(job: Job, onProgress: Parameters<Executor["run"]>[1]): Effect.Effect<Ended> {
    const disk = this.#guarded(this.#childGate, "work")
    return Effect.gen({ self: this }, function* () {
      const request = yield* Effect.mapError(this.#request(job), storage)
      const store = Store.make({ root, disk, checked: request.checked, aside: false })
      const checks = InputChecks.make(store, disk, [request.staging, request.scratch, request.checkpoint])
      const stage = stageNamed[request.stage.name]!
      const parameters = yield* Effect.orDie(Schema.decodeUnknownEffect(stage.parameters)(request.parameters))
      const inputs = yield* readers(store, stage.inputs, request, checks)
      const outputs = yield* Effect.forEach(Object.entries(stage.outputs), ([port, kind]) =>
        Effect.map(outputWriter({ store, disk, kind, port, request }), output => [port, output] as const)
      )
      const metrics: Array<{ name: string; value: number }> = []
      const work = stage.run({
        inputs: inputs as never,
        outputs: Object.fromEntries(outputs.map(([port, output]) => [port, output.writer])) as never,
        parameters,
        progress: progress => Effect.sync(() => onProgress(progress)),
        metric: (name, value) => Effect.sync(() => void metrics.push({ name, value })),
        checkpoint: request.checkpoint,
        scratch: request.scratch,
        slots: request.slots,
        engine: request.engine,
        identity: undefined
      })
      const written = yield* checks.around(
        Effect.andThen(
          work,
          Effect.forEach(outputs, ([, output]) => output.finish)
        )
      )
      const result = encodeResult({
        version: 1,
        key: request.key,
        outputs: written.map(({ digest, manifest, port }) => ({ port, digest, manifest })),
        staged: written.flatMap(({ staged }) => staged),
        metrics,
        checked: store.checks(),
        cpuMs: 1,
        peakKib: 1
      })
      yield* Effect.mapError(disk.write(join(job.directory, resultFile), result), storage)
      return { _tag: "Done" } as const
    }).pipe(
      Effect.catch(({ advice, artifact, class: kind, message, object }: StageError) =>
        Effect.succeed<Ended>({ _tag: "Failed", class: kind, message, advice, artifact, object })
      )
    )
  }

  /** The action's process says that all is well, but what it left is not what it says. */
  #lie(job: Job): Effect.Effect<Ended> {
    const { disk } = this.#world
    const world = this.#world
    const path = join(job.directory, resultFile)
    return Effect.gen(function* () {
      const text = Buffer.from(yield* disk.read(path)).toString()
      const result = JSON.parse(text) as {
        staged: Array<{ path: string; size: number }>
        outputs: Array<{ digest: string; port: string }>
      }
      const file = result.staged[world.between(0, result.staged.length - 1)]!
      const there = yield* Effect.result(disk.stat(file.path))
      switch (world.between(0, 5)) {
        case 0:
          if (there._tag === "Success") yield* disk.write(file.path, "cut")
          break
        case 1:
          if (there._tag === "Success") yield* disk.unlink(file.path)
          break
        case 2:
          yield* disk.write(path, text.slice(0, text.length / 2))
          break
        case 3:
          yield* disk.unlink(path)
          break
        case 4:
          result.outputs[0]!.digest = sha256("another")
          yield* disk.write(path, JSON.stringify(result))
          break
        default:
          result.outputs.pop()
          yield* disk.write(path, JSON.stringify(result))
      }
      world.tell(job.label, () => "lies")
      return { _tag: "Done" } as const
    }).pipe(Effect.catchCause(() => Effect.succeed<Ended>({ _tag: "Died", reason: "could not even lie" })))
  }

  /** The outputs of every node whose result is known, by label and port. */
  outputs(): ReadonlyMap<string, Digest> {
    const found = new Map<string, Digest>()
    this.resolver.states.forEach((state, id) => {
      if (state._tag !== "known") return
      for (const { digest, port } of state.outputs) found.set(`${this.plan.nodes[id]!.label}.${port}`, digest)
    })
    return found
  }
}

const dieAfter = (ms: number) => ({
  duration: ms,
  orElse: () => Effect.succeed<Ended>({ _tag: "Died", reason: "the process was killed (SIGKILL)" })
})

const storage = (error: StorageError) =>
  new StageError({ class: "storage", message: error.message, advice: error.advice })
