/** How fast a call runs at its best, and how fast a machine moves numbers through memory. */
import { Effect } from "effect"
import type { Call, Engine, EngineError } from "../src/engines/Engine.ts"
import { input, mul } from "../src/tensor/ops.ts"
import { makeProgram } from "../src/tensor/Program.ts"
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

/** Bytes per second of an elementwise op of `n` floats, read and written. They should not fit into the processor's caches. */
export const memoryBandwidth = (engine: Engine, n: number): Effect.Effect<number, EngineError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const from = yield* engine.allocate("f32", [n])
      const to = yield* engine.allocate("f32", [n])
      const scaled = yield* engine.compile(makeProgram({ to: mul(input("from", "f32", [n]), 2) }))
      return yield* fastest(engine, yield* engine.bind(scaled, { from }, { to }), 8 * n)
    })
  )
