/** `pipeline run`: runs what a pipeline needs and has not computed yet. */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { make as makeLocal } from "../../executors/local.ts"
import { pathsOf } from "../../runner/Cache.ts"
import * as Cache from "../../runner/Cache.ts"
import { isTag } from "../../ledger/References.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import type { Plan } from "../../pipeline/Plan.ts"
import { schedulingOf } from "../../pipeline/Scheduling.ts"
import { redactCommand } from "../../pipeline/Secrets.ts"
import { type Capacity, capacity, isAlive, namesIn, newOwner } from "../../runner/Machine.ts"
import { objectPorts } from "../../runner/Objects.ts"
import { eventLog } from "../../runner/EventLog.ts"
import { plan as planRun } from "../../runner/Planning.ts"
import { ledgerOf, type Ports } from "../../runner/Ports.ts"
import { run } from "../../runner/Run.ts"
import { Slots } from "../../runner/Slots.ts"
import { advice, setPermission } from "../../sandbox/permission.ts"
import * as Faults from "../../store/Faults.ts"
import { nodeDisk } from "../../store/NodeDisk.ts"
import { displayFor } from "../terminal/display.ts"
import { looseError } from "../ending.ts"
import { Exit, exitCodes } from "../failure.ts"
import * as flags from "../flags.ts"
import { compiled, dist, guard, programVersion, worker } from "../home.ts"
import { stoppable } from "../interruption.ts"
import { forced, missingEngine, wantedPlan } from "../planned.ts"
import { showTargets } from "../targets.ts"

/** Fails where a stage would run programs that a model wrote, and nobody asked for that: before anything is computed. */
const permitted = ({ nodes }: Plan, { allowCodeExecution }: { readonly allowCodeExecution: boolean }) => {
  setPermission(allowCodeExecution)
  const labels = nodes.flatMap(({ label, stage }) => (schedulingOf(stage).executesCode ? [label] : []))
  return labels.length === 0 || allowCodeExecution
    ? Effect.void
    : Effect.fail(new ConfigError({ at: labels.join(", "), message: "would run programs that a model wrote", advice }))
}

/** Processes started ahead of need: one for each processor, in a twentieth of the memory at 64 MiB each. */
const aheadOf = ({ cpus, memoryMiB }: Capacity): number => Math.min(cpus, Math.floor(memoryMiB / 20 / 64))

export const command = verb("run", {
  about: "Run a pipeline: compute what is missing, reuse what exists",
  examples: {
    "pipeline run compare-50x": "The main job; a second run executes nothing",
    "pipeline run compare-50x --quick": "A first look",
    "pipeline run compare-50x --seeds 3 --controls": "Three seeds of every row, and the controls",
    "pipeline run convert --config my-model.yaml --sweep train.lr=1e-4,3e-4":
      "A row for each value, in one run with one table",
    "pipeline run compare-50x --only tokenize": "One stage and what it needs",
    "pipeline run compare-50x --set tokenize.maxSeqLen=128": "With another parameter",
    "pipeline run compare-50x --force benchmark": "Times again what is known already, as on a quieter machine",
    "pipeline run compare-50x --set train.lr=2e-4 --tag faster --note 'twice the rate'":
      "With a name, by which other commands find it: `pipeline diff faster last`",
    "pipeline run pretrain-teacher --family hybrid": "A teacher of another kind: most of its layers are recurrent",
    "pipeline run convert --config my-model.yaml": "A model and data of your own, as a configuration file says",
    "pipeline run evaluate --config my-tasks.yaml --allow-code-execution":
      "Benchmarks of code: what the model writes is run, in a sandbox",
    "pipeline run ./my-pipeline.ts --profile large --jobs 8 --keep-going": "A pipeline of your own"
  },
  takes: {
    pipeline: flags.pipelineName,
    ...flags.planning,
    python: flags.python,
    only: flags.only,
    force: flags.force,
    jobs: flags.optionalWhole("jobs", "N", "Processor slots (default: all processors)", 1).pipe(Flag.withAlias("j")),
    gpus: flags.optionalText(
      "gpus",
      "LIST",
      "Names of the GPUs to use, separated by commas (default: $CUDA_VISIBLE_DEVICES, or all)"
    ),
    keepGoing: flags
      .toggle("keep-going", "After a failure, go on with everything that does not need what failed")
      .pipe(Flag.withAlias("k")),
    refresh: flags.refresh,
    tag: flags.optionalText(
      "tag",
      "NAME",
      "Call this run so: `pipeline show NAME` is then the newest run of that name"
    ),
    note: flags.optionalText(
      "note",
      "TEXT",
      "What is to be remembered of this run; `pipeline runs` and `show` print it"
    ),
    allowCodeExecution: flags.allowCodeExecution,
    noPreflight: flags.toggle(
      "no-preflight",
      "Do not look first whether this machine has what the profile needs (profiles that say it; see `pipeline plan`)"
    )
  },
  run: Effect.fn("run")(function* (args) {
    const tag = Option.getOrUndefined(args.tag)
    if (tag !== undefined && !isTag(tag))
      return yield* new ConfigError({
        at: `--tag ${tag}`,
        message: "is no name for a run",
        advice: "it begins with a letter and goes on with letters, digits, dots, dashes and underscores, as in lr-2e-4"
      })
    const plan = yield* wantedPlan(args.pipeline, args)
    yield* permitted(plan, args)
    const location = flags.locationOf(args.cache)
    const engine = yield* flags.engineClass(args)
    const offered = capacity({
      jobs: Option.getOrUndefined(args.jobs),
      gpus: Option.getOrUndefined(Option.map(args.gpus, namesIn))
    })
    if (plan.bill !== undefined) {
      // Loaded where a profile needs it: most do not.
      const { preflight } = yield* Effect.promise(() => import("../preflight.ts"))
      const bill = plan.bill(plan.nodes, args)
      yield* preflight({
        bill,
        location,
        engine: args.engine,
        gpus: offered.gpus,
        json: args.json,
        skip: args.noPreflight
      })
    }
    const cache = yield* Effect.sync(() => Cache.open(location))
    const paths = pathsOf(location.root)
    const { codes, look, resolver } = yield* planRun({
      plan,
      database: cache.database,
      writable: true,
      store: cache.store,
      engine,
      dist,
      refresh: args.refresh,
      anew: forced(plan, args)
    })
    const lacking = yield* missingEngine(args.engine, plan.nodes, resolver)
    if (lacking !== undefined) return yield* lacking
    const slots = new Slots(offered)
    const executor = makeLocal({ worker, guard, compiled, logs: paths.logs, ahead: aheadOf(slots.capacity) })
    const display = displayFor({ json: args.json, cache: paths.root, slots })
    const log = eventLog(paths.logs)
    const ports: Ports = {
      ledger: ledgerOf(cache.database),
      disk: nodeDisk,
      ...objectPorts(cache.store, nodeDisk),
      look,
      executor,
      owner: newOwner(),
      alive: isAlive,
      slots,
      emit: event =>
        Effect.andThen(
          Effect.sync(() => log.add(event)),
          display.emit(event)
        ),
      faults: Faults.fromEnvironment(process.env),
      paths,
      layers: location.layers,
      locate: codes.locate
    }
    const result = yield* run({
      ports,
      resolver,
      keepGoing: args.keepGoing,
      command: redactCommand(["pipeline", ...process.argv.slice(2)]),
      program: programVersion(),
      tag,
      note: Option.getOrUndefined(args.note),
      broken: () => looseError() !== undefined
    }).pipe(
      Effect.ensuring(Effect.andThen(executor.close, display.close)),
      Effect.ensuring(Effect.sync(log.close)),
      stoppable({
        announce: message => Effect.runSync(display.emit({ type: "warning", message })),
        kill: executor.killAll
      })
    )
    if (result.status === "failed") return yield* Effect.fail(new Exit(exitCodes.failed))
    yield* showTargets({ cache, resolver, json: args.json, run: result.run })
  })
})
