import { Effect } from "effect"
import { expect, it } from "vitest"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import type { ProgramOp } from "../../src/tensor/Program.ts"
import { conformance } from "./conformance.ts"
import { conformanceSuite } from "./conformanceSuite.ts"

conformanceSuite("reference", () => Effect.succeed(makeReference()))
conformanceSuite("ort", () => makeOrt({ threads: 4 }))

it("covers every op", () => {
  const missing = (Object.keys(conformance) as ReadonlyArray<ProgramOp>).filter(op => conformance[op].length === 0)
  expect(missing).toEqual([])
})
