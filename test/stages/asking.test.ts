/** Operating points of a task, as its stage is asked for them: what goes together, and what is refused by name. */
import { Schema } from "effect"
import { assert, describe, it } from "vitest"
import { evaluateSort } from "../../stages/evaluate-sort.ts"

const settingsOf = (fields: object) => Schema.decodeUnknownSync(evaluateSort.parameters)({ ...fields })
const surest = { decoding: { alg: "maskgit_plus" } }

describe("the operating points of a task", () => {
  it("are numbers of steps, thresholds, or both", () => {
    assert.deepInclude(settingsOf({}), { answerSteps: [8], thresholds: [] })
    assert.deepInclude(settingsOf({ answerSteps: [], thresholds: [0.5, 1], ...surest }), { answerSteps: [] })
    assert.deepInclude(settingsOf({ answerSteps: [2, 4], thresholds: [0.9], ...surest, method: "vfm" }), {
      thresholds: [0.9]
    })
  })

  it.each([
    [{ answerSteps: [] }, /answerSteps[^]*one of them must say how answers are made/],
    [{ answerSteps: [4, 4] }, /unique/i],
    [{ thresholds: [0.9] }, /thresholds[^]*alg maskgit_plus/],
    [{ thresholds: [0.9], decoding: { alg: "p2" } }, /thresholds[^]*alg maskgit_plus/],
    [{ thresholds: [0.9], decoding: { alg: "maskgit_plus", algTemp: 0.5 } }, /algTemp 0/],
    [{ thresholds: [0.9], decoding: { alg: "maskgit_plus", schedule: "floor" } }, /schedule quota/],
    [{ thresholds: [1.5], ...surest }, /less than or equal to 1/],
    [{ thresholds: [0], ...surest }, /greater than 0/],
    [{ decoding: { alg: "maskgit_plus", threshold: 0.9 } }, /say thresholds, a list/],
    [{ method: "ldlm", thresholds: [0.9] }, /belongs to the methods masked, vfm, cola and bd3lm[^]*thresholds/],
    [{ method: "ldlm", answerSteps: [] }, /answerSteps/]
  ] as const)("refuse %j", (fields, message) => {
    assert.throws(() => settingsOf(fields), message)
  })
})
