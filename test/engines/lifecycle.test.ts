import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { lifecycleSuite } from "./lifecycleSuite.ts"

lifecycleSuite("reference", () => Effect.succeed(makeReference()))
lifecycleSuite("ort", () => makeOrt({ threads: 1 }))

describe("segments", () => {
  it("keep the second computation apart from the first", () => {
    const w = ops.input("w", "f32", [8, 8])
    const body = (v: Tensor): Tensor => ops.tanh(ops.matmul(v, w))
    const h = ops.input("h", "f32", [5, 8])
    const loss = ops.sum(ops.checkpoint(() => body(ops.checkpoint(() => body(h)))))
    const program = makeProgram({ g: gradients(loss, [w])[0]! })
    const { segments } = segmentsOf(program)
    expect(segments.length).toBeGreaterThan(1)
    expect(program.instructions.some(({ op }) => op === "after")).toBe(true)
    for (const { instructions } of segments) expect(instructions.some(({ op }) => op === "after")).toBe(false)
  })
})

it.live("a closed engine refuses work instead of waiting for ever", () =>
  Effect.gen(function* () {
    const engine = yield* Effect.scoped(makeOrt({ threads: 1 }))
    const exit = yield* Effect.exit(Effect.scoped(engine.allocate("f32", [1])))
    expect(Exit.isFailure(exit)).toBe(true)
  })
)
