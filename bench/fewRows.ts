/**
 * A few rows times the transpose of many weights, which the engine for the processor turns round, beside the product that it would be otherwise, turn by turn:
 *
 *     node bench/fewRows.ts [--threads N]
 *
 * Prints the least time of each, microseconds.
 */
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { input, matmul, reshape } from "../src/tensor/ops.ts"
import { makeProgram } from "../src/tensor/Program.ts"
import type { Shape } from "../src/tensor/Tensor.ts"

const { values: flags } = parseArgs({ options: { threads: { type: "string", default: "2" } } })

/** Calls of a turn, and turns. */
const [calls, turns] = [20, 25]

const measured = Effect.scoped(
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: Number(flags.threads) })
    const filled = (shape: Shape) =>
      Effect.gen(function* () {
        const buffer = yield* engine.allocate("f32", shape)
        yield* engine.upload(
          buffer,
          Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i))
        )
        return buffer
      })
    const rows: Array<ReadonlyArray<string>> = []
    for (const [n, k] of [
      [2048, 192],
      [512, 512],
      [1408, 512],
      [512, 1408],
      [2048, 2048]
    ] as const)
      for (const m of [4, 16, 32]) {
        const given = { x: yield* filled([m, k]), w: yield* filled([n, k]) }
        const [x, w] = [input("x", "f32", [m, k]), input("w", "f32", [n, k])]
        // A product of stacks of matrices is never turned, not even of one.
        const stacks = matmul(reshape(x, [1, m, k]), reshape(w, [1, n, k]), { transposeB: true })
        const programs = [reshape(stacks, [m, n]), matmul(x, w, { transposeB: true })].map(y => makeProgram({ y }))
        const best = [Infinity, Infinity]
        const bound = yield* Effect.forEach(programs, program =>
          Effect.gen(function* () {
            const y = yield* engine.allocate("f32", [m, n])
            return yield* engine.bind(yield* engine.compile(program), given, { y })
          })
        )
        for (let turn = 0; turn < turns; turn++)
          for (const [i, call] of bound.entries()) {
            const begun = performance.now()
            yield* engine.run(Array.from({ length: calls }, () => call))
            best[i] = Math.min(best[i]!, ((performance.now() - begun) * 1000) / calls)
          }
        rows.push([`${m} x ${k} by ${n} x ${k}`, ...best.map(us => us.toFixed(0)), (best[0]! / best[1]!).toFixed(2)])
      }
    return rows
  })
)

const rows = await Effect.runPromise(measured)
process.stdout.write(`${table([["product", "as it stands", "turned", "ratio"], ...rows], new Set([1, 2, 3]))}\n`)
