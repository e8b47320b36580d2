/** How fast a call runs at its best. */
import { Effect } from "effect"
import type { Call, Engine } from "../src/engines/Engine.ts"
import { rounds } from "./gpu/measured.ts"

/** Runs in one message to the engine, whose own time must not count. */
const runsAtOnce = 10

/** Operations or bytes per second of a call that has so many: the fastest of some rounds. */
export const fastest = (engine: Engine, call: Call, amount: number) =>
  Effect.map(
    rounds(
      { rounds: 5, leastRounds: 5, seconds: 0, warmUp: 2 },
      engine.run(Array.from({ length: runsAtOnce }, () => call))
    ),
    milliseconds => (runsAtOnce * amount) / (Math.min(...milliseconds) / 1000)
  )
