/** How fast a device multiplies and moves numbers. */
import { Effect } from "effect"
import type { Precision } from "../../src/engines/names.ts"
import { startTorch, type StartedTorch } from "../../src/engines/torch/torch.ts"
import { cast, input, matmul, mul, random, sub } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { fastest } from "../fastest.ts"
import { type Peaks, type Task, torchOptions } from "./measured.ts"

/** The peaks, and what the device is. `size`: rows and columns of the matrices. */
export const measurePeaks = (
  options: Pick<Task, "compiled" | "device" | "threads">,
  precisions: ReadonlyArray<Precision>,
  size: number
) =>
  Effect.gen(function* () {
    const found: { [precision in Precision]?: number } = {}
    let bandwidth = 0
    let machine: Pick<StartedTorch, "info" | "started"> | undefined
    for (const precision of precisions)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { engine, info, started } = yield* startTorch(torchOptions({ ...options, precision }))
          machine = { info, started }
          // 16-bit matrices are a program's own, so that nothing is converted.
          const dtype = precision === "bf16" || precision === "f16" ? precision : "f32"
          const shape = [size, size]
          const buffers = {
            a: yield* engine.allocate(dtype, shape),
            b: yield* engine.allocate(dtype, shape),
            y: yield* engine.allocate(dtype, shape)
          }
          // Random numbers, made on the device: products of constants draw less power, and run faster.
          const key = yield* engine.allocate("i64", [2])
          yield* engine.upload(key, BigInt64Array.of(1n, 2n))
          const fill = makeProgram({ x: cast(sub(random(input("key", "i64", [2]), shape), 0.5), dtype) })
          const filled = yield* engine.compile(fill)
          for (const x of [buffers.a, buffers.b]) yield* engine.run([yield* engine.bind(filled, { key }, { x })])
          const product = makeProgram({ y: matmul(input("a", dtype, shape), input("b", dtype, shape)) })
          const { a, b, y } = buffers
          found[precision] = yield* fastest(
            engine,
            yield* engine.bind(yield* engine.compile(product), { a, b }, { y }),
            2 * size ** 3
          )
          if (bandwidth > 0) return
          const n = 4 * size ** 2
          const from = yield* engine.allocate("f32", [n])
          const to = yield* engine.allocate("f32", [n])
          const scaled = yield* engine.compile(makeProgram({ to: mul(input("from", "f32", [n]), 2) }))
          bandwidth = yield* fastest(engine, yield* engine.bind(scaled, { from }, { to }), 8 * n)
        })
      )
    return { peaks: { matmul: found, bandwidth } satisfies Peaks, ...machine! }
  })
