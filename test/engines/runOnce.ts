/** Runs a program on an engine, for tests. */
import { Effect, type Scope } from "effect"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { fromNumbers, toNumbers } from "../../src/engines/reference/evaluate.ts"
import type { Program } from "../../src/tensor/Program.ts"

/** Starts an engine, or hands out one that is shared. */
export type MakeEngine = () => Effect.Effect<Engine, EngineError, Scope.Scope>

/** Runs a program once on host values, by name. */
export const runOnce = Effect.fn("runOnce")(function* (
  engine: Engine,
  program: Program,
  values: { readonly [name: string]: ArrayLike<number> }
) {
  const buffers = (ports: Program["inputs"]) =>
    Effect.map(
      Effect.forEach(ports, ({ name, value }) => {
        const { dtype, shape } = program.values[value]!
        return Effect.map(engine.allocate(dtype, shape), buffer => [name, buffer] as const)
      }),
      entries => Object.fromEntries(entries)
    )
  const inputs = yield* buffers(program.inputs)
  const outputs = yield* buffers(program.outputs)
  for (const [name, buffer] of Object.entries(inputs))
    yield* engine.upload(buffer, fromNumbers(buffer.dtype, values[name]!))
  const executable = yield* engine.compile(program)
  yield* engine.run([yield* engine.bind(executable, inputs, outputs)])
  return Object.fromEntries(
    yield* Effect.forEach(Object.entries(outputs), ([name, buffer]) =>
      Effect.map(engine.download(buffer), data => [name, toNumbers(buffer.dtype, data)] as const)
    )
  )
})
