/** What computes tensors here: the engine's version, its threads, and how fast it multiplies matrices. */
import { createRequire } from "node:module"
import { availableParallelism } from "node:os"
import { Effect } from "effect"
import { makeOrt } from "../../engines/ort/ort.ts"
import { input, matmul } from "../../tensor/ops.ts"
import { makeProgram } from "../../tensor/Program.ts"
import { type Check, ok, problem } from "./Check.ts"

/** Rows and columns of the measured product: large enough to show the peak, small enough to take a moment. */
const size = 1024
/** The fastest of so many counts: others of this machine's programs may slow some down. */
const repeats = 8

/** Floating-point operations per second of a product of f32 matrices, on all processors. */
const matmulPeak = Effect.scoped(
  Effect.gen(function* () {
    const engine = yield* makeOrt()
    const shape = [size, size]
    const program = makeProgram({ y: matmul(input("a", "f32", shape), input("b", "f32", shape)) })
    const [a, b, y] = [
      yield* engine.allocate("f32", shape),
      yield* engine.allocate("f32", shape),
      yield* engine.allocate("f32", shape)
    ]
    for (const buffer of [a, b]) yield* engine.upload(buffer, new Float32Array(size * size).fill(1 / size))
    const call = yield* engine.bind(yield* engine.compile(program), { a, b }, { y })
    yield* engine.run([call])
    const product = (yield* engine.download(y)) as Float32Array
    let best = Infinity
    for (let i = 0; i < repeats; i++) {
      const start = performance.now()
      yield* engine.run([call])
      best = Math.min(best, performance.now() - start)
    }
    const right = Math.abs(product[size]! - 1 / size) < 1e-6
    return { right, perSecond: (2 * size ** 3) / (best / 1000) }
  })
)

export const engines: Check = {
  name: "engines",
  run: () =>
    Effect.match(matmulPeak, {
      onFailure: ({ message }) => [
        problem(
          "engine ort",
          message,
          "`npm ci` installs onnxruntime-node; it exists for Linux (x64, arm64), macOS and Windows"
        )
      ],
      onSuccess: ({ perSecond, right }) => {
        const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json") as {
          readonly version: string
        }
        const what = `onnxruntime-node ${version}, ${availableParallelism()} threads, ${Math.round(perSecond / 1e9)} GFLOP/s in f32`
        return [
          right
            ? ok("engine ort", what)
            : problem(
                "engine ort",
                `${what}, but products of matrices come out wrong`,
                "results of this machine cannot be trusted"
              )
        ]
      }
    })
}
