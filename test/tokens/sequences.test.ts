import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { DataRecord, Message } from "../../src/formats/records.ts"
import { decodeSequences, encodeSequences } from "../../src/tokens/sequenceCodec.ts"
import {
  ResponseTooLong,
  type SequenceContent,
  type SequenceOptions,
  sequencesOf,
  writeTurn
} from "../../src/tokens/sequences.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const tokenizer = loadFrom(shippedDirectory)
const { eosId } = tokenizer

const ids = (text: string) => Array.from(tokenizer.encode(text))
const plain = (sequence: SequenceContent) => ({
  ...sequence,
  ids: Array.from(sequence.ids),
  lossMask: Array.from(sequence.lossMask)
})
const sequences = (record: DataRecord, options: SequenceOptions) => sequencesOf(record, tokenizer, options).map(plain)
const only = (record: DataRecord, options: SequenceOptions) => {
  const [first, ...more] = sequences(record, options)
  if (first === undefined || more.length > 0) throw new Error(`expected one sequence, got ${more.length + 1}`)
  return first
}
const conversation = (...messages: ReadonlyArray<Message>) => ({ kind: "conversation" as const, messages })
const pair = (prompt: string, response: string) => ({ kind: "prompt_response" as const, prompt, response })

const text = fc.string({ unit: "grapheme", maxLength: 60 })
const maxSeqLen = fc.integer({ min: 1, max: 20 })

describe("a document", () => {
  it("all chunks together are its tokens and the end of text, and every chunk but the last is full", () => {
    fc.assert(
      fc.property(text, maxSeqLen, fc.boolean(), (content, most, appendEos) => {
        const chunks = sequences({ kind: "document", text: content }, { maxSeqLen: most, appendEos })
        const whole = content === "" ? [] : [...ids(content), ...(appendEos ? [eosId] : [])]
        expect(chunks.flatMap(chunk => chunk.ids)).toEqual(whole)
        expect(chunks.slice(0, -1).every(chunk => chunk.ids.length === most)).toBe(true)
        expect(chunks).toHaveLength(Math.ceil(whole.length / most))
        for (const chunk of chunks) {
          expect(chunk.promptLength).toBe(0)
          expect(chunk.lossMask).toEqual(chunk.ids.map(() => 1))
        }
      })
    )
  })

  it("ends in the end of text by default", () => {
    expect(only({ kind: "document", text: "Call me" }, { maxSeqLen: 10 }).ids).toEqual([...ids("Call me"), eosId])
  })
})

describe("prompt and response", () => {
  it("are tokenised apart; only the response and its end are learnt", () => {
    fc.assert(
      fc.property(text, text, maxSeqLen, fc.boolean(), (prompt, response, most, appendEos) => {
        const options = { maxSeqLen: most, appendEos, longResponses: "cut" as const }
        const [sequence, ...more] = sequences(pair(prompt, response), options)
        const read = ids(prompt)
        const learnt = [...ids(response), ...(appendEos ? [eosId] : [])]
        expect(more).toEqual([])
        if (learnt.length === 0 || read.length >= most) {
          expect(sequence).toBeUndefined()
          return
        }
        expect(sequence?.ids).toEqual([...read, ...learnt].slice(0, most))
        expect(sequence?.promptLength).toBe(read.length)
        expect(sequence?.lossMask).toEqual(sequence?.ids.map((_, i) => Number(i >= read.length)))
      })
    )
  })

  it("are refused where they are longer than a sequence may be, unless they are to be cut", () => {
    const [prompt, response] = ["The people of", " the United States"]
    const [read, learnt] = [ids(prompt).length, ids(response).length + 1]
    expect(only(pair(prompt, response), { maxSeqLen: read + learnt }).ids).toHaveLength(read + learnt)
    const short = { maxSeqLen: read + learnt - 1 }
    expect(() => sequences(pair(prompt, response), short)).toThrow(new ResponseTooLong(read, learnt))
    expect(only(pair(prompt, response), { ...short, longResponses: "cut" }).ids).toHaveLength(read + learnt - 1)
  })

  it("do not merge across their border", () => {
    expect(only(pair("Solve for x: 2", "2"), { maxSeqLen: 99, appendEos: false }).ids).toEqual([
      ...ids("Solve for x: 2"),
      ...ids("2")
    ])
    expect(ids("Solve for x: 22")).not.toEqual([...ids("Solve for x: 2"), ...ids("2")])
  })

  it("keep the number that the record gave itself", () => {
    expect(only({ ...pair("a", "b"), idx: 17 }, { maxSeqLen: 9 }).idx).toBe(17)
    expect(only(pair("a", "b"), { maxSeqLen: 9 })).not.toHaveProperty("idx")
  })
})

describe("a conversation", () => {
  const turns: ReadonlyArray<Message> = [
    { role: "system", content: " Be brief. " },
    { role: "user", content: "Hello?" },
    { role: "assistant", content: "Hello.\n" }
  ]

  it("default: each turn is its role, its content, the end of text and a line break; the assistant's are learnt", () => {
    const written = [
      "System: Be brief.<|endoftext|>\n",
      "User: Hello?<|endoftext|>\n",
      "Assistant: Hello.<|endoftext|>\n"
    ]
    const sequence = only(conversation(...turns), { maxSeqLen: 200 })
    expect(sequence.ids).toEqual(written.flatMap(ids))
    const [system = [], user = [], assistant = []] = written.map(ids)
    expect(sequence.promptLength).toBe(system.length + user.length)
    expect(sequence.lossMask).toEqual([...system.map(() => 0), ...user.map(() => 0), ...assistant.map(() => 1)])
    expect(sequence.ids.filter(id => id === eosId)).toHaveLength(3)
  })

  it("chatml: each turn stands between the tokens of that template", () => {
    const sequence = only(conversation(...turns), { maxSeqLen: 200, chatTemplate: "chatml" })
    expect(tokenizer.decode(sequence.ids)).toBe(
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    )
    expect(sequence.ids.filter(id => id === tokenizer.idOf("<|im_start|>"))).toHaveLength(3)
  })

  it("a loss mask overrides who speaks", () => {
    const sequence = only(
      conversation({ role: "user", content: "a", loss_mask: 1 }, { role: "assistant", content: "b", loss_mask: 0 }),
      { maxSeqLen: 99 }
    )
    expect(sequence.promptLength).toBe(0)
    expect(sequence.lossMask).toEqual([
      ...ids("User: a<|endoftext|>\n").map(() => 1),
      ...ids("Assistant: b<|endoftext|>\n").map(() => 0)
    ])
  })

  it("keeps its last tokens, with their masks", () => {
    const message = fc.record({ role: fc.constantFrom("user" as const, "assistant" as const), content: text })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), maxSeqLen, (messages, most) => {
        const whole = messages.map(turn => ids(writeTurn(turn, "default", tokenizer.eosToken)))
        const masks = messages.flatMap((turn, i) => (whole[i] ?? []).map(() => Number(turn.role === "assistant")))
        const [sequence] = sequences(conversation(...messages), { maxSeqLen: most })
        const mask = masks.slice(-most)
        if (!mask.includes(1)) {
          expect(sequence).toBeUndefined()
          return
        }
        expect(sequence?.ids).toEqual(whole.flat().slice(-most))
        expect(sequence?.lossMask).toEqual(mask)
        expect(sequence?.promptLength).toBe(mask.indexOf(1))
      })
    )
  })
})

it("a length that is no length is refused", () => {
  for (const most of [0, -1, 1.5, Number.NaN]) {
    expect(() => sequences({ kind: "document", text: "a" }, { maxSeqLen: most })).toThrow(RangeError)
  }
})

const content: fc.Arbitrary<ReadonlyArray<SequenceContent>> = fc
  .tuple(
    fc.array(
      fc
        .array(fc.tuple(fc.oneof(fc.nat(2047), fc.nat(70_000), fc.nat(2 ** 31 - 1)), fc.nat(1)), { maxLength: 20 })
        .chain(tokens =>
          fc.tuple(fc.constant(tokens), fc.nat(tokens.length), fc.boolean()).map(([pairs, promptLength, byMask]) => ({
            ids: Int32Array.from(pairs, ([id]) => id),
            lossMask: Uint8Array.from(pairs, ([, bit], i) => (byMask ? bit : Number(i >= promptLength))),
            promptLength
          }))
        )
    ),
    fc.option(fc.maxSafeInteger(), { nil: undefined })
  )
  .map(([list, idx]) => list.map(sequence => ({ ...sequence, ...(idx === undefined ? {} : { idx }) })))

describe("the bytes of sequences", () => {
  it("give back what was written, with the place of the record", () => {
    fc.assert(
      fc.property(content, fc.nat(), (list, document) => {
        const read = Result.getOrThrow(decodeSequences(encodeSequences(list), document))
        expect(read).toEqual(list.map((sequence, chunk) => ({ ...sequence, document, chunk })))
      })
    )
  })

  it("may begin anywhere in a larger buffer", () => {
    const list = sequencesOf({ kind: "document", text: "Call me Ishmael." }, tokenizer, { maxSeqLen: 3 })
    const bytes = encodeSequences(list)
    const buffer = new Uint8Array(bytes.length + 3)
    buffer.set(bytes, 3)
    expect(Result.getOrThrow(decodeSequences(buffer.subarray(3), 0))).toHaveLength(list.length)
  })

  it("take two bytes a token for a small vocabulary", () => {
    const list = sequencesOf({ kind: "document", text: "a ".repeat(1000) }, tokenizer, { maxSeqLen: 4096 })
    expect(encodeSequences(list).length).toBe(12 + 9 + 2 * (list[0]?.ids.length ?? 0))
  })

  it("that are cut off anywhere, or too long, are an error at their end", () => {
    const bytes = encodeSequences([
      { ids: Int32Array.of(1, 2, 70_000), lossMask: Uint8Array.of(1, 0, 1), promptLength: 0, idx: 5 },
      { ids: Int32Array.of(4), lossMask: Uint8Array.of(1), promptLength: 0, idx: 5 }
    ])
    for (let end = 0; end < bytes.length; end += 1) {
      const result = decodeSequences(bytes.subarray(0, end), 0)
      expect(Result.isFailure(result) && result.failure).toMatchObject({ _tag: "SequenceCodecError", offset: end })
    }
    const longer = decodeSequences(Buffer.concat([bytes, Buffer.of(0)]), 0)
    expect(Result.isFailure(longer) && longer.failure.message).toBe(
      `token sequences, byte ${bytes.length}: 1 bytes too many`
    )
  })

  it.each<[number, number, string]>([
    [0, 0x45, 'token sequences, byte 0: they do not begin with "DSEQ"'],
    [4, 2, "token sequences, byte 4: version 2 is unknown here, which reads version 1"],
    [5, 0x80, "token sequences, byte 5: unknown flags are set"],
    [16, 9, "token sequences, byte 16: a prompt of 9 in a sequence of 2 tokens"],
    [20, 7, "token sequences, byte 20: unknown kind of mask 7"],
    [11, 0xff, "token sequences, byte 25: the bytes end before sequence 1 of 4278190081"]
  ])("with a wrong byte %i are an error there", (at, value, message) => {
    const bytes = encodeSequences([{ ids: Int32Array.of(1, 2), lossMask: Uint8Array.of(0, 1), promptLength: 1 }])
    bytes[at] = value
    const result = decodeSequences(bytes, 0)
    expect(Result.isFailure(result) && result.failure.message).toBe(message)
  })

  it("that are anything at all are read or refused, and never crash", () => {
    const good = encodeSequences(sequencesOf({ ...pair("ab", "cd"), idx: 3 }, tokenizer, { maxSeqLen: 9 }))
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 60 }),
          fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }).map(edits => {
            const bytes = Uint8Array.from(good)
            for (const [at, value] of edits) bytes[at] = value
            return bytes
          })
        ),
        bytes => void decodeSequences(bytes, 0)
      ),
      { numRuns: 2000 }
    )
  })

  it("stay the same from one version of the program to the next", () => {
    const bytes = encodeSequences([
      { ids: Int32Array.of(1, 515), lossMask: Uint8Array.of(0, 1), promptLength: 1, idx: 2 },
      { ids: Int32Array.of(7, 8, 9), lossMask: Uint8Array.of(1, 0, 1), promptLength: 0, idx: 2 }
    ])
    expect(Buffer.from(bytes).toString("hex")).toBe(
      "44534551" +
        "01" +
        "01" +
        "0000" +
        "02000000" +
        "0000000000000040" +
        "02000000" +
        "01000000" +
        "00" +
        "01000302" +
        "03000000" +
        "00000000" +
        "01" +
        "070008000900" +
        "05"
    )
  })
})
