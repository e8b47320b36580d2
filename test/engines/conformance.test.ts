import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { primitives } from "../../src/tensor/primitives.ts"
import type { Shape } from "../../src/tensor/Tensor.ts"
import { allOps, casesOf, traced } from "./cases.ts"
import { conformanceSuite } from "./conformanceSuite.ts"
import { startedOnce } from "./startedOnce.ts"

conformanceSuite("reference", () => Effect.succeed(makeReference()))
// Idle threads of a session wait by spinning: only the test that needs several has them.
conformanceSuite("ort", startedOnce(makeOrt({ threads: 1 })), { makeThreaded: () => makeOrt({ threads: 4 }) })

it.each(allOps)("the engine torch has %s, as far as its text says", op => {
  const text = ["ops.py", "program.py"].map(file =>
    readFileSync(new URL(`../../src/engines/torch/${file}`, import.meta.url), "utf8")
  )
  expect(text.join("")).toContain(`"${op}"`)
})

describe("cases", () => {
  it.each(allOps)("of %s have every dtype that it takes, axes of size 1 and empty ones", op => {
    const cases = casesOf(op)
    const { dtypes, operands } = primitives[op]
    const main = operands.indexOf("T" as never)
    if (main >= 0) expect(new Set(cases.map(({ inputs }) => inputs[main]!.dtype))).toEqual(new Set(dtypes))
    const tensors = cases.flatMap(each => {
      const { outputs, x } = traced(op, each)
      return [...x, ...Object.values(outputs)]
    })
    const sizes = new Set(tensors.flatMap(({ shape }) => shape))
    // Of an empty axis there is no largest, and no mean.
    expect([0, 1].filter(size => sizes.has(size))).toEqual(["max", "argmax", "rmsNorm"].includes(op) ? [1] : [0, 1])
  })

  it.each(allOps)("of %s broadcast to both sides", op => {
    if (primitives[op].operands.join() !== "T,T" || op === "rmsNorm") return
    const rank = (shape: Shape): number => shape.length
    const ranks = casesOf(op).map(({ inputs: [a, b] }) => Math.sign(rank(a!.shape) - rank(b!.shape)))
    expect(new Set(ranks)).toEqual(new Set([-1, 0, 1]))
  })
})
