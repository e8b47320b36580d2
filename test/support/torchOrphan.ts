/** Starts the engine `torch` and lets it compute for a long time: to be killed. `node torchOrphan.ts PYTHON`; prints a line when it computes. */
import { Effect } from "effect"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { input, matmul } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"

const size = 1024
await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeTorch({ python: process.argv[2]!, device: "cpu", threads: 1 })
      const x = yield* engine.allocate("f32", [size, size])
      const y = yield* engine.allocate("f32", [size, size])
      const operand = input("x", "f32", [size, size])
      const program = makeProgram({ y: matmul(operand, operand) })
      const call = yield* engine.bind(yield* engine.compile(program), { x }, { y })
      console.log("computes")
      // An hour or so.
      yield* engine.run(Array(200_000).fill(call))
    })
  )
)
