/** Answers to GSM8K and MATH-500, right and wrong, in the forms that models give. */
import { assert, describe, it } from "vitest"
import { lastNumber, markedAnswer, suites as gsm8k } from "../../../src/evaluation/tasks/gsm8k.ts"
import { answerOf, equivalent, lastBoxed, normalised, suites as math } from "../../../src/evaluation/tasks/math500.ts"

describe("GSM8K", () => {
  const row = { question: "How many?", answer: "2 + 1,000 = 1,002.\n#### 1,002" }
  const judge = (protocol: string, response: string) => {
    const [item] = gsm8k.gsm8k.protocols[protocol]!.items([row])
    return item!.judge(item!.completion(response))
  }

  it("is asked as lm-evaluation-harness does", () => {
    const [item] = gsm8k.gsm8k.protocols["strict"]!.items([row])
    assert.strictEqual(item!.prompt, "Question: How many?\nAnswer:")
    assert.strictEqual(item!.answer, "1,002")
    assert.strictEqual(item!.completion("5\nQuestion: another"), "5\n")
  })

  it.each([
    ["#### 1002", "right", "right"],
    ["It is $1,002.", "missing", "right"],
    ["#### 1,002 and then 7", "right", "wrong"],
    ["#### 1002.", "right", "right"],
    ["#### -1002", "wrong", "wrong"],
    ["The answer is 1002.00", "missing", "wrong"],
    ["I do not know", "missing", "missing"],
    ["7 #### 8 #### 1002", "wrong", "right"],
    ["1002\nQuestion: 5?", "missing", "right"]
  ] as const)("%j is %s by the mark, %s by the last number", (response, strict, flexible) => {
    assert.deepStrictEqual(judge("strict", response), { outcome: strict })
    assert.deepStrictEqual(judge("flexible", response), { outcome: flexible })
  })

  it("finds numbers as the harness' expressions do", () => {
    assert.strictEqual(markedAnswer("x #### -3.5 y"), "-3.5")
    assert.strictEqual(lastNumber("a 5 b"), "5")
    assert.strictEqual(lastNumber("from 3 to $20.50."), "$20.50.")
    assert.isUndefined(lastNumber("none"))
  })
})

describe("MATH-500", () => {
  it.each([
    ["so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"],
    ["\\boxed{1} then \\boxed{2}", "2"],
    ["\\fbox{3}", "3"],
    ["$\\boxed 5$ is it", "5"],
    ["\\boxed{open", undefined],
    ["nothing", undefined]
  ] as const)("finds the last box in %j", (text, found) => {
    assert.strictEqual(lastBoxed(text), found)
  })

  it.each([
    ["\\boxed{7}", "7"],
    ["Thus \\[ x + 1 \\]", "x + 1"],
    ["It is $3$ or $4$", "3$ or $4"],
    ["just 9", "just 9"]
  ] as const)("takes what comes nearest to a boxed answer of %j", (response, answer) => {
    assert.strictEqual(answerOf(response), answer)
  })

  it.each([
    ["\\frac12", "\\frac{1}{2}"],
    ["\\frac1{72}", "\\frac{1}{72}"],
    ["\\dfrac{1}{2}", "\\tfrac{1}{2}"],
    ["1/2", "\\frac{1}{2}"],
    ["0.5", "\\frac12"],
    [".5", "0.5"],
    ["\\sqrt3", "\\sqrt{3}"],
    ["90^\\circ", "90"],
    ["\\$5", "5"],
    ["50\\%", "50"],
    ["x = 3", "3"],
    ["\\left( 1, 2 \\right)", "(1,2)"],
    ["5\\text{ cm}", "5"],
    ["1\\!000", "1000"],
    ["-3/4", "\\frac{-3}{4}"]
  ] as const)("%j and %j are the same answer", (a, b) => {
    assert.isTrue(equivalent(a, b))
  })

  it.each([
    ["1/3", "0.333"],
    ["2", "3"],
    ["01/2", "1/2"],
    ["(1,2)", "[1,2]"],
    ["xy = 3", "3"],
    ["\\text{ a}\\text{ b}", "c"]
  ] as const)("%j and %j are not", (a, b) => {
    assert.isFalse(equivalent(a, b))
  })

  it("does not change what is normal already", () => {
    for (const answer of ["\\frac{1}{2}", "\\sqrt{3}", "(1,2)", "12", "x^2+1", ""])
      assert.strictEqual(normalised(normalised(answer)), normalised(answer))
  })

  it("judges whole responses", () => {
    const [item] = math["math-500"].protocols["lm-eval"]!.items([
      { problem: "1 + 1?", solution: "It is $\\boxed{2}$." }
    ])
    assert.strictEqual(item!.prompt, "Problem: 1 + 1?\nAnswer:")
    const judge = (response: string) => item!.judge(item!.completion(response))
    assert.deepStrictEqual(judge("We get \\boxed{2}.\n\nProblem: next"), { outcome: "right" })
    assert.deepStrictEqual(judge(" \\boxed{3}"), { outcome: "wrong" })
    assert.deepStrictEqual(judge("Problem:"), { outcome: "missing" })
  })
})
