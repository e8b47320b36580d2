import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type DataRecord, type DataType, decodeRecord, recordDigest, showPath } from "../../src/formats/records.ts"

const problem = (row: unknown, dataType: DataType, textKey?: string) => {
  const result = decodeRecord({ dataType, textKey })(row)
  if (Result.isSuccess(result)) throw new Error("expected a fault")
  return `${showPath(result.failure.path)} ${result.failure.what}`.trim()
}

const decoded = (row: unknown, dataType: DataType, textKey?: string) =>
  Result.getOrThrow(decodeRecord({ dataType, textKey })(row))

const record: fc.Arbitrary<DataRecord> = fc.oneof(
  fc.record({ kind: fc.constant("document" as const), text: fc.string() }),
  fc
    .record({ prompt: fc.string(), response: fc.string(), idx: fc.option(fc.nat(), { nil: undefined }) })
    .map(({ idx, prompt, response }) => ({
      kind: "prompt_response" as const,
      prompt,
      response,
      ...(idx === undefined ? {} : { idx })
    })),
  fc
    .array(fc.record({ role: fc.constantFrom("user" as const, "assistant" as const), content: fc.string() }))
    .map(messages => ({ kind: "conversation" as const, messages }))
)

describe("decodeRecord", () => {
  it("takes the fields of the data type and ignores the others", () => {
    const row = { idx: 4, prompt: "p", response: "r", text: "t", messages: [{ role: "user", content: "c" }], extra: {} }
    expect(decoded(row, "plaintext")).toEqual({ kind: "document", text: "t" })
    expect(decoded(row, "plaintext", "prompt")).toEqual({ kind: "document", text: "p" })
    expect(decoded(row, "prompt_response")).toEqual({ kind: "prompt_response", prompt: "p", response: "r", idx: 4 })
    expect(decoded({ question: "q", answer: "a" }, "prompt_response", "question, answer")).toEqual({
      kind: "prompt_response",
      prompt: "q",
      response: "a"
    })
    expect(decoded(row, "conversation")).toEqual({
      kind: "conversation",
      messages: [{ role: "user", content: "c" }]
    })
  })

  it("a loss mask may be a number or a boolean, and null where there is none", () => {
    const turns = [true, 0, 1n, null].map(loss_mask => ({ role: "user", content: "", loss_mask }))
    expect(decoded({ messages: turns }, "conversation")).toEqual({
      kind: "conversation",
      messages: [
        { role: "user", content: "", loss_mask: 1 },
        { role: "user", content: "", loss_mask: 0 },
        { role: "user", content: "", loss_mask: 1 },
        { role: "user", content: "" }
      ]
    })
  })

  it("faults name the path of the field and what it must be", () => {
    expect(problem({}, "plaintext")).toBe("text is missing; the record has no fields")
    expect(problem({ question: "q" }, "prompt_response", "question,answer")).toBe(
      "answer is missing; the record has question"
    )
    for (const keys of ["question", "a,b,c", "a,"])
      expect(problem({}, "prompt_response", keys)).toMatch(/^the fields of prompt and response are named as in/)
    expect(problem({ text: ["a"] }, "plaintext")).toBe("text must be a string, got a list")
    expect(problem("a", "plaintext")).toBe("a record must be an object, got a string")
    expect(problem({ prompt: "p", response: "r", idx: 1.5 }, "prompt_response")).toBe(
      "idx must be an integer, got number 1.5"
    )
    expect(problem({ messages: {} }, "conversation")).toBe("messages must be a list of {role, content}, got an object")
    expect(problem({ messages: [{ role: "user", content: "" }, 7] }, "conversation")).toBe(
      "messages[1] must be an object {role, content}, got number 7"
    )
    expect(problem({ chat: [{ role: "bot", content: "" }] }, "conversation", "chat")).toBe(
      'chat[0].role must be one of system, user, assistant, tool, got "bot"'
    )
    expect(problem({ messages: [{ role: "user" }] }, "conversation")).toBe(
      "messages[0].content is missing; the record has role"
    )
    expect(problem({ messages: [{ role: "user", content: "", loss_mask: 2 }] }, "conversation")).toBe(
      "messages[0].loss_mask must be 0 or 1, got number 2"
    )
  })

  it("a field that every object inherits counts as missing", () => {
    expect(problem({}, "plaintext", "toString")).toBe("toString is missing; the record has no fields")
  })
})

describe("recordDigest", () => {
  it("different records have different digests, equal ones the same", () => {
    fc.assert(
      fc.property(record, record, (a, b) => {
        expect(recordDigest(a) === recordDigest(b)).toBe(JSON.stringify(a) === JSON.stringify(b))
        expect(recordDigest(structuredClone(a))).toBe(recordDigest(a))
      })
    )
  })

  it("text cannot move from one field to the next unnoticed", () => {
    const pair = (prompt: string, response: string) => recordDigest({ kind: "prompt_response", prompt, response })
    expect(pair("ab", "c")).not.toBe(pair("a", "bc"))
    expect(pair("", "abc")).not.toBe(recordDigest({ kind: "document", text: "abc" }))
  })

  it("a loss mask that says what is meant anyway changes nothing", () => {
    const digest = (loss_mask?: 0 | 1) =>
      recordDigest({
        kind: "conversation",
        messages: [{ role: "assistant", content: "a", ...(loss_mask === undefined ? {} : { loss_mask }) }]
      })
    expect(digest()).toBe(digest(1))
    expect(digest()).not.toBe(digest(0))
  })

  it("stays the same from one version of the program to the next", () => {
    expect(recordDigest({ kind: "document", text: "héllo" })).toMatchInlineSnapshot(
      `"11a941209ade28e011e8fbe94c0e22657854483c480f95c7671c00ea667f8020"`
    )
    expect(recordDigest({ kind: "prompt_response", prompt: "p", response: "r", idx: 7 })).toMatchInlineSnapshot(
      `"7a719bee02317709d5b18c3f6788e658fb03b84486887bce9ec187f0bfd31a45"`
    )
    expect(recordDigest({ kind: "conversation", messages: [{ role: "user", content: "hi" }] })).toMatchInlineSnapshot(
      `"be3279e5a3d8482b21c8b5a8d8c32db31201da019d3e7bd700457f3373e7d087"`
    )
  })
})
