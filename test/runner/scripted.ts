/** A run in a simulated world where nothing goes wrong by itself: the test says what becomes of each attempt. */
import { Deferred, Effect } from "effect"
import type { Ended, Job } from "../../src/executors/Executor.ts"
import type { Plan } from "../../src/pipeline/Plan.ts"
import type { Ports } from "../../src/runner/Ports.ts"
import type { RunEvent } from "../../src/runner/Events.ts"
import { seeded } from "../support/random.ts"
import { SimulatedProcess } from "./simulatedProcess.ts"
import * as stages from "./simulatedStages.ts"
import { World } from "./simulatedWorld.ts"

export interface Attempted {
  readonly label: string
  /** Virtual milliseconds. */
  readonly startedMs: number
}

/** What becomes of an attempt; `work` is what it would do by itself. */
export type Script = (job: Job, work: Effect.Effect<Ended>, nth: number) => Effect.Effect<Ended>

export const obey: Script = (_, work) => work

export const newWorld = (seed = 1): World => {
  const world = new World(seed, seeded(seed), false)
  world.calm = true
  stages.world.nonce = world.nonce
  stages.world.pauseMs = () => 1000
  stages.world.version = () => ""
  return world
}

export interface Played {
  readonly process: SimulatedProcess
  readonly attempts: ReadonlyArray<Attempted>
  readonly events: ReadonlyArray<RunEvent>
}

export const play = (
  world: World,
  plan: Plan,
  script: Script,
  options: {
    readonly keepGoing?: boolean
    readonly meanwhile?: (process: SimulatedProcess) => Effect.Effect<void>
    readonly ports?: (ports: Ports) => Ports
  } = {}
): Played => {
  const attempts: Array<Attempted> = []
  const process = new SimulatedProcess(
    world,
    plan,
    {
      ports: real => {
        const ports = options.ports?.(real) ?? real
        return {
          ...ports,
          executor: {
            name: "scripted",
            run: (job, onProgress) =>
              Effect.suspend(() => {
                attempts.push({ label: job.label, startedMs: world.time.now })
                const nth = attempts.filter(({ label }) => label === job.label).length
                return script(job, ports.executor.run(job, onProgress), nth)
              })
          }
        }
      }
    },
    options.keepGoing ?? true
  )
  world.time.run(
    Effect.gen(function* () {
      process.start()
      if (options.meanwhile !== undefined) yield* Effect.forkChild(options.meanwhile(process))
      yield* Deferred.await(process.ended)
    }),
    world.time.now + 24 * 3_600_000
  )
  return { process, attempts, events: process.events }
}

/** Started attempts by label, in the order of the labels. */
export const labelsOf = ({ attempts }: Played): ReadonlyArray<string> => attempts.map(({ label }) => label).toSorted()
