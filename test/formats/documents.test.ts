import { it as effectIt } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as fc from "fast-check"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import {
  DocumentsError,
  formatOf,
  readRecords,
  recordsFromJson,
  recordsFromJsonLines,
  recordsFromRows
} from "../../src/formats/documents.ts"
import { type DataRecord, decodeRecord, type RecordOptions } from "../../src/formats/records.ts"

const plaintext: RecordOptions = { dataType: "plaintext" }

/** Cuts bytes into chunks of the given sizes, in turn. */
function* chunked(bytes: Uint8Array, sizes: ReadonlyArray<number>): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1)
    yield bytes.subarray(at, at + size)
    at += size
  }
}

const fromLines = (
  content: string | Uint8Array,
  options: RecordOptions & { readonly longestLine?: number } = plaintext,
  sizes: ReadonlyArray<number> = [7]
): Promise<Array<DataRecord>> =>
  Array.fromAsync(
    recordsFromJsonLines(chunked(Buffer.from(content), sizes), "a.jsonl", decodeRecord(options), options.longestLine)
  )

const fromJson = (content: string | Uint8Array, options: RecordOptions = plaintext): Array<DataRecord> =>
  Array.from(recordsFromJson(Buffer.from(content), "a.json", decodeRecord(options)))

const document = (text: string) => ({ kind: "document", text })

const lineProblem = async (
  content: string | Uint8Array,
  options?: RecordOptions & { readonly longestLine?: number }
) => {
  const error: unknown = await fromLines(content, options).then(
    records => records,
    (cause: unknown) => cause
  )
  if (!(error instanceof DocumentsError)) throw new Error(`expected a DocumentsError, got ${JSON.stringify(error)}`)
  return error
}

const jsonProblem = (content: string, options?: RecordOptions) => {
  try {
    fromJson(content, options)
  } catch (cause) {
    if (cause instanceof DocumentsError) return cause
    throw cause
  }
  throw new Error("expected a DocumentsError")
}

describe("JSON Lines", () => {
  it("records come back in order, however the bytes are cut into chunks", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme" })),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        fc.constantFrom("\n", "\r\n", "\n\n", "\n \t\r\n"),
        fc.boolean(),
        async (texts, sizes, lineEnd, lastEnd) => {
          const lines = texts.map(text => JSON.stringify({ id: 1, text }))
          const content = lines.join(lineEnd) + (lastEnd ? lineEnd : "")
          expect(await fromLines(content, plaintext, sizes)).toEqual(texts.map(document))
        }
      )
    )
  })

  it("a byte order mark at the start is ignored, one elsewhere is an error", async () => {
    expect(await fromLines('\ufeff{"text":"a"}\n')).toEqual([document("a")])
    expect((await lineProblem('{"text":"a"}\n\ufeff{"text":"b"}')).message).toBe(
      'a.jsonl:2:1: expected a value, found "\ufeff"'
    )
  })

  it("broken JSON is reported at its line and column", async () => {
    const error = await lineProblem('{"text":"a"}\n\n{"text" "b"}\n')
    expect(error).toMatchObject({ file: "a.jsonl", line: 3, column: 9 })
    expect(error.message).toBe('a.jsonl:3:9: expected ":" after the key, found "\\""')
  })

  it("a pretty-printed object is an error that tells what JSON Lines are", async () => {
    expect((await lineProblem('{\n  "text": "a"\n}')).message).toBe(
      'a.jsonl:1:2: expected a key in "double quotes", found the end of the text; in JSON Lines every record is one line'
    )
  })

  it("a wrong field is reported at its value, a missing one with the fields that are there", async () => {
    expect(await lineProblem('{"id": 7, "text": null}')).toMatchObject({
      line: 1,
      column: 19,
      field: "text",
      message: "a.jsonl:1:19: text must be a string, got null"
    })
    expect((await lineProblem('{"id": 7, "content": "a"}')).message).toBe(
      "a.jsonl:1:1: text is missing; the record has id, content"
    )
    expect((await lineProblem("[1]")).message).toBe("a.jsonl:1:1: a record must be an object, got a list")
  })

  it("a key that an object within a field has twice is one, too, unless the field is not read", async () => {
    const decode = decodeRecord({ dataType: "conversation" })
    const line = (messages: string, rest = "") =>
      recordsFromJsonLines([Buffer.from(`{"messages":${messages}${rest}}`)], "a.jsonl", decode).next()
    const twice = '[{"role":"user","content":"a"},{"role":"user","content":"b","r\\u006fle":"system"}]'
    await expect(line(twice)).rejects.toThrow('a.jsonl:1:73: the key "role" appears twice in messages[1]')
    const once = '[{"role":"user","content":"a"}]'
    expect((await line(once, ',"meta":{"a":1,"a":2}')).value).toMatchObject({ kind: "conversation" })
    await expect(line(once, ',"meta":1,"meta":2')).rejects.toThrow('the key "meta" appears twice in one record')
    const [rows] = [`[{"messages":[]},\n{"messages":${twice}}]`]
    expect(() => [...recordsFromJson(Buffer.from(rows), "a.json", decode)]).toThrow(
      'a.json:2:73: the key "role" appears twice in messages[1]'
    )
  })

  it("a key that a record has twice is an error at its second place", async () => {
    expect((await lineProblem('{"text":"a","text":"b"}')).message).toBe(
      'a.jsonl:1:13: the key "text" appears twice in one record'
    )
  })

  it("bytes that are not UTF-8 are an error at their place", async () => {
    const content = Buffer.concat([Buffer.from('{"text":"a"}\n{"text":"é'), Buffer.from([0xff]), Buffer.from('"}')])
    expect((await lineProblem(content)).message).toBe(
      "a.jsonl:2:11: byte 0xff is not valid UTF-8; save the file as UTF-8"
    )
  })

  it("UTF-16 is named as such", async () => {
    const content = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('{"text":"a"}\n', "utf16le")])
    expect((await lineProblem(content)).message).toBe("a.jsonl:1:1: the file is in UTF-16; save it as UTF-8")
  })

  it("half a surrogate pair becomes U+FFFD, as it would on the way to its bytes", async () => {
    expect(await fromLines('{"text":"a\\ud800b"}')).toEqual([document("a\ufffdb")])
  })

  it("a line without end is refused before it fills the memory", async () => {
    const error = await lineProblem(`{"text":"a"}\n{"text":"${"x".repeat(500)}"}`, { ...plaintext, longestLine: 100 })
    expect(error.message).toBe("a.jsonl:2:1: the line is longer than 100 bytes; JSON Lines holds one record a line")
  })

  it("a prefix of a file gives its records and then, if the cut is inside one, an error that names the last line", async () => {
    const content = Buffer.from('{"text":"é1"}\n{"text":"zwei"}\n{"text":"3"}')
    for (let end = 0; end <= content.length; end += 1) {
      const seen: Array<DataRecord> = []
      let error: unknown
      try {
        const records = recordsFromJsonLines([content.subarray(0, end)], "a.jsonl", decodeRecord(plaintext))
        for await (const record of records) seen.push(record)
      } catch (cause) {
        error = cause
      }
      const complete = content.subarray(0, end).toString().split("\n")
      if (error === undefined) expect(seen).toHaveLength(complete.filter(line => line !== "").length)
      else expect(error).toMatchObject({ _tag: "DocumentsError", line: complete.length })
    }
  })

  it("no bytes whatever give anything but records or an error that names the place", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.tuple(fc.uint8Array({ maxLength: 4 }), fc.nat(60)).map(([noise, at]) => {
            const good = Buffer.from('{"text":"some \\u00e9 text","idx":1}\n{"text":"more"}\n')
            return Buffer.concat([good.subarray(0, at), noise, good.subarray(at + noise.length)])
          })
        ),
        fc.constantFrom<RecordOptions["dataType"]>("plaintext", "prompt_response", "conversation"),
        async (bytes, dataType) => {
          const records = await fromLines(bytes, { dataType, textKey: undefined }).catch((cause: unknown) => cause)
          if (Array.isArray(records)) return
          expect(records).toBeInstanceOf(DocumentsError)
          expect((records as DocumentsError).message).toMatch(/^a\.jsonl:\d+:\d+: /)
        }
      ),
      { numRuns: 1000 }
    )
  })
})

describe("JSON", () => {
  it("a list of records is read in order", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" })), fc.constantFrom(undefined, 2), (texts, indent) => {
        const content = JSON.stringify(
          texts.map(text => ({ text })),
          undefined,
          indent
        )
        expect(fromJson(content)).toEqual(texts.map(text => document(text.toWellFormed())))
      })
    )
  })

  it("faults are reported at their line and column", () => {
    expect(jsonProblem('[\n  {"text": "a"},\n  {"text": 5}\n]').message).toBe(
      "a.json:3:12: text must be a string, got number 5"
    )
    expect(jsonProblem('[\n  {"text": "a"},\n  {"txt": "a"}\n]').message).toBe(
      "a.json:3:3: text is missing; the record has txt"
    )
    expect(jsonProblem('[\n  {"text": "a",\n   "text": "b"}\n]').message).toBe(
      'a.json:3:4: the key "text" appears twice in one record'
    )
    expect(jsonProblem('[{"text": "a"}\n{"text": "b"}]').message).toBe('a.json:2:1: expected "," or "]", found "{"')
    expect(jsonProblem("17").message).toBe("a.json:1:1: a JSON file of records must hold a list: [{…}, {…}]")
    expect(jsonProblem("").message).toBe("a.json:1:1: expected a value, found the end of the text")
  })

  it("JSON Lines under the name .json are read as what they are", () => {
    expect(fromJson('{"text":"a"}\r\n{"text":"b"}\n')).toEqual([document("a"), document("b")])
    expect(jsonProblem('{"text":"a"}\n{"text":}').message).toBe('a.json:2:9: expected a value, found "}"')
  })

  it("no text whatever gives anything but records or an error that names the place", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 100 }),
          fc.json().map(text => Buffer.from(text))
        ),
        bytes => {
          try {
            fromJson(bytes)
          } catch (cause) {
            expect(cause).toBeInstanceOf(DocumentsError)
            expect((cause as DocumentsError).message).toMatch(/^a\.json:\d+:\d+: /)
          }
        }
      ),
      { numRuns: 1000 }
    )
  })
})

describe("rows of another reader", () => {
  it("are decoded in order; a fault names the row", async () => {
    const rows = [
      { prompt: "p", response: "r", idx: 3n },
      { prompt: "p", response: 4 }
    ]
    const records = recordsFromRows(rows, "b.parquet", decodeRecord({ dataType: "prompt_response" }))
    expect((await records.next()).value).toEqual({ kind: "prompt_response", prompt: "p", response: "r", idx: 3 })
    await expect(records.next()).rejects.toMatchObject({
      _tag: "DocumentsError",
      row: 1,
      field: "response",
      message: "b.parquet, row 1: response must be a string, got number 4"
    })
  })

  it("what the reader itself throws passes through", async () => {
    const broken = function* () {
      yield { text: "a" }
      throw new RangeError("torn page")
    }
    await expect(Array.fromAsync(recordsFromRows(broken(), "b.parquet", decodeRecord(plaintext)))).rejects.toThrow(
      "torn page"
    )
  })
})

describe("readRecords", () => {
  const inDirectory = <A, E>(use: (directory: string) => Effect.Effect<A, E>) =>
    Effect.acquireUseRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "documents-"))),
      use,
      directory => Effect.promise(() => rm(directory, { recursive: true }))
    )

  effectIt.effect("reads files by their extension and names them as it is told", () =>
    inDirectory(directory =>
      Effect.gen(function* () {
        const path = join(directory, "x")
        yield* Effect.promise(() => writeFile(path, '{"text":"a"}\n{"text":1}'))
        const first = yield* Stream.runCollect(
          readRecords(path, decodeRecord(plaintext), "x.jsonl").pipe(Stream.take(1))
        )
        expect(first).toEqual([document("a")])
        const error = yield* Effect.flip(Stream.runDrain(readRecords(path, decodeRecord(plaintext), "x.jsonl")))
        expect(error.message).toBe("x.jsonl:2:9: text must be a string, got number 1")
      })
    )
  )

  effectIt.effect("a missing file and an unknown extension are errors", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(Stream.runDrain(readRecords("/does/not/exist.jsonl", decodeRecord(plaintext))))
      expect(missing.message).toMatch(/^\/does\/not\/exist\.jsonl: could not be read: ENOENT/)
      const unknown = yield* Effect.flip(Stream.runDrain(readRecords("a.txt", decodeRecord(plaintext))))
      expect(unknown.message).toBe("a.txt: the file must end in .jsonl, .ndjson, .jsonl.gz or .json")
    })
  )

  it("formats are told by extensions", () => {
    expect(
      ["a.jsonl", "a.NDJSON", "a.json", "a.b/c.parquet", "a.csv", "json", "a.jsonl.gz", "a.json.gz"].map(formatOf)
    ).toEqual(["jsonl", "jsonl", "json", "parquet", undefined, undefined, "jsonl", undefined])
  })
})
