/** One simulated history: several runners on one store and one ledger, everything that can go wrong, and what must hold nevertheless. */
import { join } from "node:path"
import { Cause, Deferred, Effect, Exit } from "effect"
import { actionKey } from "../../src/pipeline/Key.ts"
import { ancestors, type Plan } from "../../src/pipeline/Plan.ts"
import * as Actions from "../../src/ledger/Actions.ts"
import { below, seeded } from "../support/random.ts"
import { defectivePorts, type Plant, SimulatedProcess } from "./simulatedProcess.ts"
import * as stages from "./simulatedStages.ts"
import { paths, World } from "./simulatedWorld.ts"
import { Stuck } from "./virtualTime.ts"

export interface Outcome {
  readonly seed: number
  readonly violations: ReadonlyArray<string>
  /** Every event, when it was asked for. */
  readonly trace: ReadonlyArray<string>
  /** How much happened, to show that histories are not all alike. */
  readonly crashes: number
  readonly interruptions: number
  readonly executions: number
  readonly failures: number
  /** Results that were dropped because what they were made from had changed. */
  readonly dropped: number
  readonly defects: number
}

export interface SimulationOptions {
  readonly seed: number
  readonly trace?: boolean
  readonly plant?: Plant
}

/** No history takes longer, in virtual milliseconds. */
const limitMs = 12 * 3_600_000

export const simulate = ({ plant, seed, trace = false }: SimulationOptions): Outcome => {
  const random = seeded(seed)
  const plans = randomPlans(random)
  // The second plan is a beginning of the first: its stages have the same labels.
  const expected = undisturbed(plans[0]!)
  const world = new World(seed, random, trace)
  useWorld(world)
  try {
    world.time.run(history(world, plans, plant, expected), limitMs)
  } catch (cause) {
    if (cause instanceof Stuck) {
      const open = world.processes.filter(process => !process.crashed && process.exit === undefined)
      world.violate(`${cause.message}; not ended: ${open.map(process => process.name).join(", ") || "none"}`)
    } else
      world.violate(`unexpected: ${cause instanceof Error ? cause.stack : Cause.pretty(cause as Cause.Cause<never>)}`)
  }
  return {
    seed,
    violations: world.violations,
    trace: world.trace ?? [],
    crashes: world.processes.filter(process => process.crashed).length,
    interruptions: world.processes.filter(wasInterrupted).length,
    executions: world.executions.length,
    dropped: world.processes.flatMap(({ events }) => events).filter(event => event.type === "changed" && event.dropped)
      .length,
    defects: world.processes
      .flatMap(({ events }) => events)
      .filter(event => event.type === "failed" && event.message.includes("simulated defect")).length,
    failures: world.processes.filter(({ exit }) => exit !== undefined && Exit.isSuccess(exit) && exit.value.failed > 0)
      .length
  }
}

const wasInterrupted = ({ exit }: SimulatedProcess) =>
  exit !== undefined && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)

/** Stages whose code may be edited while runs are under way. */
const stageNames = ["source", "mix", "pair", "split", "fold"]

const useWorld = (world: World) => {
  stages.world.nonce = world.nonce
  stages.world.pauseMs = () => world.between(0, 4000)
  stages.world.version = stage => {
    const { version } = world.versionOf(stage)
    return version === 0 ? "" : ` v${version}`
  }
}

/** One pipeline, and half of the time a second one that shares its beginning. */
const randomPlans = (random: () => number): ReadonlyArray<Plan> => {
  const parts = stages.randomParts(random)
  const plans = [stages.planOf("first", parts, 1 + below(random, 3))]
  if (random() < 0.5) plans.push(stages.planOf("second", parts.slice(0, 1 + below(random, parts.length)), 1))
  return plans
}

/** The results that a plan has where nothing ever goes wrong. */
const undisturbed = (plan: Plan): ReadonlyMap<string, string> => {
  const world = new World(0, seeded(0), false)
  world.calm = true
  useWorld(world)
  stages.world.pauseMs = () => 0
  const process = new SimulatedProcess(world, plan, undefined)
  world.time.run(
    Effect.suspend(() => {
      process.start()
      return Deferred.await(process.ended)
    }),
    limitMs
  )
  if (process.exit === undefined || Exit.isFailure(process.exit) || process.exit.value.status !== "done")
    throw new Error(`${plan.pipeline} cannot even be run undisturbed`)
  return process.outputs()
}

const history = (
  world: World,
  plans: ReadonlyArray<Plan>,
  plant: Plant | undefined,
  expected: ReadonlyMap<string, string>
): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* Effect.forkChild(mischief(world))
    yield* Effect.forkChild(editing(world))
    yield* Effect.forEach(
      Array.from({ length: world.between(1, 4) }),
      () => lifetime(world, plans[below(world.random, plans.length)]!, plant),
      { concurrency: "unbounded", discard: true }
    )
    world.calm = true
    world.undoEdits()
    world.checkPresent("after the disturbed runs")
    world.repair()
    // The leases of the dead on another host end by time only.
    yield* Effect.sleep(world.between(0, 30_000))
    for (const plan of plans) yield* finalRuns(world, plan, plant, expected)
    world.checkPresent("at the end")
    for (const process of world.processes) checkEnd(world, process)
  })

/** A user's patience: runs again what crashed, was stopped or failed, some times. */
const lifetime = (world: World, plan: Plan, plant: Plant | undefined): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let patience = world.between(1, 3); patience > 0; patience--) {
      yield* Effect.sleep(world.between(0, 20_000))
      const process = new SimulatedProcess(world, plan, plant)
      const disturbance = yield* Effect.forkChild(disturb(world, process))
      process.start()
      yield* Deferred.await(process.ended)
      disturbance.interruptUnsafe()
      if (process.exit !== undefined && Exit.isSuccess(process.exit) && process.exit.value.status === "done") return
    }
  })

const disturb = (world: World, process: SimulatedProcess): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (world.chance(0.35)) process.stepsLeft = world.between(1, 600)
    if (world.chance(0.05)) process.diskTrouble = 0.005
    if (world.chance(0.05)) process.ledgerTrouble = 0.02
    if (world.chance(0.3))
      process.defects = {
        port: defectivePorts[world.between(0, defectivePorts.length - 1)]!,
        share: world.random() / 8
      }
    for (;;) {
      yield* Effect.sleep(world.between(1, 40_000))
      if (world.chance(0.3)) process.freeze(world.between(1000, 45_000))
      else if (world.chance(0.25)) process.interrupt()
      else if (world.chance(0.2)) process.crash()
    }
  })

/** What happens to the machine and the store themselves. */
const mischief = (world: World): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (;;) {
      yield* Effect.sleep(world.between(1, 60_000))
      if (world.calm) return
      const fate = world.random()
      if (fate < 0.1) {
        world.tell("machine", () => "POWER CUT")
        world.boot++
        // First the disk: whoever waits for the end of a process goes on as soon as that has crashed, and may change the disk.
        world.disk.powerCut(world.between(0, 1_000_000))
        for (const process of world.processes) process.crash()
        world.checkPresent("after a power cut")
      } else if (fate < 0.3) world.rot()
      else if (fate < 0.6) world.collect()
    }
  })

/** Somebody works on the code of a stage or two while runs are under way, and often puts back what was there. */
const editing = (world: World): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (world.chance(0.6)) return
    const stage = stageNames[world.between(0, stageNames.length - 1)]!
    for (;;) {
      yield* Effect.sleep(world.between(100, 10_000))
      if (world.calm) return
      world.edit(world.chance(0.8) ? stage : "mix", world.between(0, 1))
    }
  })

/** Once nothing goes wrong any more, a run completes, and the one after it has nothing to do. */
const finalRuns = (
  world: World,
  plan: Plan,
  plant: Plant | undefined,
  expected: ReadonlyMap<string, string>
): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (const again of [false, true]) {
      const process = new SimulatedProcess(world, plan, plant)
      process.start()
      yield* Deferred.await(process.ended)
      const { exit } = process
      if (exit === undefined || Exit.isFailure(exit)) {
        world.violate(`the final run of ${plan.pipeline} did not succeed`)
        return
      }
      if (exit.value.status !== "done") world.violate(`the final run of ${plan.pipeline} is ${exit.value.status}`)
      if (again && exit.value.executed > 0)
        world.violate(`a second run of ${plan.pipeline} executes ${exit.value.executed} actions anew`)
      checkResults(world, process, expected)
    }
  })

const checkResults = (world: World, process: SimulatedProcess, expected: ReadonlyMap<string, string>): void => {
  const { plan, resolver } = process
  const found = process.outputs()
  const steady = stages.steadyNodes(plan)
  for (const node of plan.nodes) {
    const state = resolver.states[node.id]!
    const components = resolver.components(node)
    if (components !== undefined && state._tag !== "unknown" && state.key !== actionKey(components))
      world.violate(`${node.label} is answered for other inputs than it has`)
    if (!steady[node.id]) continue
    for (const port of Object.keys(node.stage.outputs)) {
      const place = `${node.label}.${port}`
      if (found.get(place) !== expected.get(place))
        world.violate(`${place} is ${found.get(place)?.slice(0, 8)} instead of ${expected.get(place)?.slice(0, 8)}`)
    }
  }
  const keys = plan.targets.flatMap(({ node }) => {
    const state = resolver.states[node]!
    return state._tag === "unknown" ? [] : [state.key]
  })
  const known = Actions.lookup(world.database, keys)
  for (const { name, node, output } of plan.targets) {
    const state = resolver.states[node]!
    const ledger =
      state._tag === "unknown" ? undefined : known.get(state.key)?.outputs.find(({ port }) => port === output)
    if (ledger?.state !== "present") world.violate(`target ${name} is ${ledger?.state ?? "unknown"} after a final run`)
    if (ledger?.digest !== found.get(`${plan.nodes[node]!.label}.${output}`))
      world.violate(`target ${name} is not what the ledger says`)
  }
}

/** What a process leaves behind, and what it told. */
const checkEnd = (world: World, process: SimulatedProcess): void => {
  const { exit, name, owner, slots } = process
  if (process.crashed) return
  if (exit === undefined) return world.violate(`${name} never ended`)
  const { used } = slots
  if (used.cpus !== 0 || used.memoryMiB !== 0 || slots.waiting !== 0) world.violate(`${name} did not return its slots`)
  checkReports(world, process)
  // Where the ledger itself failed, not everything could be written down.
  if (process.ledgerTrouble > 0 || process.defects?.port === "ledger") return
  if (Exit.isFailure(exit) && !wasInterrupted(process))
    world.violate(`${name} ended with a defect: ${Cause.pretty(exit.cause)}`)
  const { database } = world
  const leases = database.get<{ n: number }>("SELECT count(*) AS n FROM lease WHERE owner = ?", owner.id)!.n
  if (leases > 0) world.violate(`${name} left ${leases} leases`)
  const row = database.get<{ id: number; status: string }>("SELECT id, status FROM run WHERE pid = ?", owner.pid)
  if (row === undefined) {
    if (!wasInterrupted(process)) world.violate(`${name} has no record`)
    return
  }
  const status = Exit.isSuccess(exit) ? exit.value.status : "interrupted"
  if (row.status !== status) world.violate(`${name} is ${status}, its record says ${row.status}`)
  const open = database.get<{ n: number }>(
    "SELECT count(*) AS n FROM execution WHERE run = ? AND status = 'running'",
    row.id
  )!.n
  if (open > 0) world.violate(`${name} left ${open} executions that seem to run`)
  // After a power cut, names come back whose removal was not synced.
  if (process.diskTrouble > 0 || process.defects?.port === "disk" || world.boot > 1) return
  const tokens = new Set(world.executions.filter(one => one.process === process).map(one => String(one.token)))
  for (const path of world.disk.files().keys()) {
    if (!path.startsWith(`${paths.actions}/`)) continue
    const [directory] = path.slice(paths.actions.length + 1).split("/")
    if (tokens.has(directory!.split(".").at(-1)!)) world.violate(`${name} left ${join(paths.actions, directory!)}`)
  }
}

/** A failure is reported once, with its cause; what needed it, as skipped. */
const checkReports = (world: World, process: SimulatedProcess): void => {
  const { events, exit, name, plan } = process
  const failed = events.flatMap(event => (event.type === "failed" && event.retryInMs === undefined ? [event] : []))
  const skipped = events.flatMap(event => (event.type === "skipped" ? [event] : []))
  const failedLabels = new Set(failed.map(event => event.label))
  const skippedLabels = new Set(skipped.map(event => event.label))
  if (failedLabels.size < failed.length) world.violate(`${name} reports a failure twice`)
  if (skippedLabels.size < skipped.length) world.violate(`${name} reports a skipped stage twice`)
  if (failed.some(event => event.message === "")) world.violate(`${name} reports a failure without a cause`)
  for (const label of failedLabels)
    if (skippedLabels.has(label)) world.violate(`${name} reports ${label} as failed and as skipped`)
  const ends = events.filter(event => event.type === "run-ended")
  if (exit === undefined || Exit.isFailure(exit)) return
  const result = exit.value
  if (ends.length !== 1) world.violate(`${name} reports its end ${ends.length} times`)
  if (result.failed !== failed.length)
    world.violate(`${name} counts ${result.failed} failures, reports ${failed.length}`)
  if (result.skipped !== skipped.length)
    world.violate(`${name} counts ${result.skipped} skipped stages, reports ${skipped.length}`)
  if (result.executed + result.reused + result.failed + result.skipped < plan.nodes.length || result.reused < 0)
    world.violate(`${name} does not account for every stage: ${JSON.stringify(result)}`)
  if (!process.keepGoing) return
  // With --keep-going, nothing is given up that does not need what failed.
  for (const { id, label } of plan.nodes) {
    if (!skippedLabels.has(label)) continue
    const above = ancestors(plan, [id]).map(ancestor => plan.nodes[ancestor]!.label)
    if (!above.some(ancestor => failedLabels.has(ancestor)))
      world.violate(`${name} skips ${label}, which needs nothing that failed`)
  }
  const lost = new Set([...failedLabels, ...skippedLabels])
  for (const { label, wires } of plan.nodes) {
    const state = process.resolver.states[plan.nodes.findIndex(node => node.label === label)]!
    if (lost.has(label) || state._tag === "known") continue
    if (wires.some(wire => lost.has(plan.nodes[wire.node]!.label)))
      world.violate(`${name} does not report that ${label} is skipped`)
  }
}
