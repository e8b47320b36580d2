import { Effect } from "effect"
import { expect, it } from "vitest"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { dtypes } from "../../src/tensor/dtype.ts"
import { input } from "../../src/tensor/ops.ts"
import type { ProgramOp } from "../../src/tensor/primitives.ts"
import { TensorError } from "../../src/tensor/Tensor.ts"
import { conformance } from "./conformance.ts"
import { conformanceSuite, randomShapes } from "./conformanceSuite.ts"
import { randomCase } from "./randomCases.ts"

conformanceSuite("reference", () => Effect.succeed(makeReference()))
// Idle threads of a session wait by spinning: only the test that needs several has them.
conformanceSuite("ort", () => makeOrt({ threads: 1 }), { makeThreaded: () => makeOrt({ threads: 4 }) })

const all = Object.entries(conformance) as ReadonlyArray<[ProgramOp, (typeof conformance)[ProgramOp]]>

it("covers every op", () => {
  expect(all.filter(([, cases]) => cases.length === 0).map(([op]) => op)).toEqual([])
})

it.each([
  ["in its list", ([, cases]: (typeof all)[number]) => cases],
  [
    "on random shapes",
    ([op]: (typeof all)[number]) => Array.from({ length: randomShapes }, (_, i) => randomCase(op, i))
  ]
])("leaves out no dtype that an op takes, %s", (_where, casesOf) => {
  const missing = all.flatMap(entry => {
    const [op, cases] = entry
    // The operand that gives an op its dtype.
    const main = op === "select" ? 1 : 0
    const known = new Set(casesOf(entry).map(({ inputs }) => inputs[main]!.dtype))
    return dtypes.flatMap(dtype => {
      const accepted = cases.some(({ f, inputs }) => {
        const own = inputs[main]!.dtype
        try {
          f(...inputs.map(({ dtype: given, shape }, i) => input(`x${i}`, given === own ? dtype : given, shape)))
          return true
        } catch (cause) {
          if (cause instanceof TensorError) return false
          throw cause
        }
      })
      return accepted && !known.has(dtype) ? [`${op} of ${dtype}`] : []
    })
  })
  expect(missing).toEqual([])
})
