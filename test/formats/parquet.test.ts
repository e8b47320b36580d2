import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as fc from "fast-check"
import type { CompressionCodec } from "hyparquet"
import { parquetWriteBuffer } from "hyparquet-writer"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib"
import { firstRows, ParquetError, type ParquetRow, parquetShape, rows } from "../../src/formats/parquet.ts"
import { bytesSource, fileSource, type RandomAccess } from "../../src/formats/randomAccess.ts"
import { httpSource } from "../../src/hub/httpSource.ts"
import { loopbackHub } from "../support/loopbackHub.ts"

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/parquet/${name}`, import.meta.url))
const fixtures = ["v1-snappy.parquet", "v2-zstd.parquet", "v1-lz4-plain.parquet", "v1-gzip-deltas.parquet"]
const fixtureRows = JSON.parse(readFileSync(fixture("rows.json"), "utf8")) as ReadonlyArray<ParquetRow>

const allRows = (file: RandomAccess<never>) => firstRows({ file, rows: Infinity })
const inMemory = (bytes: Uint8Array) => bytesSource("x.parquet", bytes)

/** A file with the columns text and n, and the rows in it. */
const written = (
  count: number,
  options: { codec?: CompressionCodec; rowGroupSize?: number; pageSize?: number } = {}
): { readonly bytes: Uint8Array; readonly expected: ReadonlyArray<ParquetRow> } => {
  const texts = Array.from({ length: count }, (_, i) => `document ${i} ${"é😀x".repeat(i % 50)}`)
  const numbers = Array.from({ length: count }, (_, i) => i)
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: "text", data: texts, type: "STRING", nullable: false },
      { name: "n", data: Int32Array.from(numbers), type: "INT32", nullable: false }
    ],
    compressors: {
      GZIP: input => gzipSync(input),
      ZSTD: input => zstdCompressSync(input),
      BROTLI: input => brotliCompressSync(input)
    },
    ...options
  })
  return { bytes: new Uint8Array(bytes), expected: numbers.map(n => ({ text: texts[n], n })) }
}

const problemOf = (bytes: Uint8Array, needed?: ReadonlyArray<string>) =>
  Effect.flip(
    firstRows({
      file: inMemory(bytes),
      rows: Infinity,
      ...(needed === undefined ? {} : { columns: { needed, also: [] } })
    })
  )

describe("rows", () => {
  it.live.each(fixtures)("reads what another writer wrote: %s", name =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Stream.runCollect(rows(fixture(name))), fixtureRows as Array<ParquetRow>)
    })
  )

  it.live("reads only the columns asked for, in their order", () =>
    Effect.gen(function* () {
      const found = yield* Stream.runCollect(
        rows(fixture(fixtures[0]!), { columns: { needed: ["idx"], also: ["messages", "nowhere"] } })
      )
      assert.deepStrictEqual(
        found,
        fixtureRows.map(({ idx, messages }) => ({ idx, messages }))
      )
      assert.deepStrictEqual(Object.keys(found[0]!), ["idx", "messages"])
    })
  )

  it.live("fails when the file does not exist", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Stream.runCollect(rows(fixture("missing.parquet"))))
      assert.strictEqual(error._tag, "FileError")
    })
  )
})

describe("firstRows", () => {
  it.live.each(fixtures)("agrees with all rows, however many are asked for: %s", name =>
    Effect.gen(function* () {
      for (const count of [0, 1, 7, 25, 26, 49, 60, 1000]) {
        const found = yield* firstRows({ file: fileSource(fixture(name)), rows: count })
        assert.deepStrictEqual(found, fixtureRows.slice(0, count))
      }
    })
  )

  it.live("reads every codec and any layout of row groups and pages", () =>
    Effect.gen(function* () {
      for (const codec of ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI"] as const) {
        for (const [rowGroupSize, pageSize] of [
          [1000, 1_000_000],
          [100, 500],
          [33, 100]
        ] as const) {
          const { bytes, expected } = written(250, { codec, rowGroupSize, pageSize })
          assert.deepStrictEqual(yield* allRows(inMemory(bytes)), expected)
          assert.deepStrictEqual(yield* firstRows({ file: inMemory(bytes), rows: 120 }), expected.slice(0, 120))
        }
      }
    })
  )

  it.live("keeps integers exact", () =>
    Effect.gen(function* () {
      const values = [0n, -1n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 63n)]
      const bytes = parquetWriteBuffer({ columnData: [{ name: "n", data: values, type: "INT64" }] })
      const found = yield* allRows(inMemory(new Uint8Array(bytes)))
      assert.deepStrictEqual(
        found.map(row => row.n),
        [0, -1, 2 ** 53 - 1, 2n ** 53n, -(2n ** 63n)]
      )
    })
  )

  it.live("keeps any text exactly as it is", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.option(fc.string({ unit: "binary" }).filter(s => s.isWellFormed()))),
          async texts => {
            const data = ["\ufeffbyte order mark", null, ...texts]
            const bytes = parquetWriteBuffer({ columnData: [{ name: "text", data, type: "STRING" }], pageSize: 64 })
            const found = await Effect.runPromise(allRows(inMemory(new Uint8Array(bytes))))
            assert.deepStrictEqual(
              found.map(row => row.text),
              data
            )
          }
        ),
        { numRuns: 50 }
      )
    )
  )

  it.live("tells the shape of a file from its footer alone", () =>
    Effect.gen(function* () {
      const { bytes } = written(250, { rowGroupSize: 100 })
      assert.deepStrictEqual(yield* parquetShape(inMemory(bytes)), {
        rowCount: 250,
        columns: ["text", "n"],
        rowsPerGroup: [100, 100, 50]
      })
    })
  )

  it.live("names the columns there are when one is missing", () =>
    Effect.gen(function* () {
      const error = yield* problemOf(written(3).bytes, ["txt"])
      assert.include(error.message, 'no column "txt"; there are: text, n')
    })
  )
})

describe("firstRows over HTTP", () => {
  const remote = Effect.fnUntraced(function* (bytes: Uint8Array) {
    const hub = yield* loopbackHub
    const upload = (content: Uint8Array) => hub.commit("datasets/a/b", { "x.parquet": { bytes: content } })
    upload(bytes)
    const url = `${hub.url}/datasets/a/b/resolve/main/x.parquet`
    const http = { attempts: 3, baseDelayMillis: 1, maxDelayMillis: 2 }
    return { hub, upload, file: httpSource({ url, http }) }
  })

  const bytesAsked = (ranges: ReadonlyArray<string | undefined>) => {
    let sum = 0
    for (const range of ranges) {
      const [, first = "", last = ""] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? assert.fail(`no range: ${range}`)
      sum += Number(last) - Number(first) + 1
    }
    return sum
  }

  it.live("fetches the footer and the pages needed, not the file", () =>
    Effect.gen(function* () {
      const { bytes, expected } = written(40_000, { codec: "UNCOMPRESSED", rowGroupSize: 20_000, pageSize: 20_000 })
      const { file, hub } = yield* remote(bytes)
      let reported = 0
      const found = yield* firstRows({
        file,
        columns: { needed: ["text"], also: [] },
        rows: 50,
        onProgress: p => (reported = p.bytesDone)
      })
      assert.deepStrictEqual(
        found,
        expected.slice(0, 50).map(({ text }) => ({ text }))
      )
      const asked = bytesAsked(hub.requests.map(({ range }) => range))
      assert.isBelow(asked, bytes.length / 10)
      assert.isAtMost(reported, asked)
      assert.isAtMost(hub.requests.length, 3)
    })
  )

  it.live("survives cuts and busy servers", () =>
    Effect.gen(function* () {
      const { bytes, expected } = written(1000)
      const { file, hub } = yield* remote(bytes)
      hub.faults.cutAt.push(bytes.length - 3, 100)
      hub.faults.answers.push({ status: 503 })
      assert.deepStrictEqual(yield* firstRows({ file, rows: 10 }), expected.slice(0, 10))
    })
  )

  it.live("takes a small file whole from a server without ranges, and refuses a large one", () =>
    Effect.gen(function* () {
      const { bytes, expected } = written(1000)
      const small = yield* remote(bytes)
      small.hub.faults.ignoreRange = true
      assert.deepStrictEqual(yield* firstRows({ file: small.file, rows: 10 }), expected.slice(0, 10))
      assert.strictEqual(small.hub.requests.length, 1)
      const large = yield* remote(new Uint8Array(16 * 1024 * 1024 + 1))
      large.hub.faults.ignoreRange = true
      const error = yield* Effect.flip(firstRows({ file: large.file, rows: 10 }))
      assert.include(error.message, "does not serve ranges")
    })
  )

  it.live("fails when the file changes between two reads", () =>
    Effect.gen(function* () {
      const { bytes } = written(1000)
      const { file, upload } = yield* remote(bytes)
      yield* file.read(0, 10)
      upload(Uint8Array.from(bytes, byte => byte ^ 1))
      assert.include((yield* Effect.flip(file.read(0, 10))).message, "changed while it was read")
    })
  )
})

describe("damaged files", () => {
  it.live("are told from other files, and cut ones from whole ones", () =>
    Effect.gen(function* () {
      const { bytes } = written(100)
      const encrypted = bytes.slice()
      encrypted.set(Buffer.from("PARE"), bytes.length - 4)
      for (const [content, what] of [
        [new Uint8Array(0), "at least 12 bytes"],
        [Buffer.from(`{"text":"not parquet"}`), 'last four bytes are not "PAR1"'],
        [bytes.slice(0, -5), 'last four bytes are not "PAR1"'],
        [encrypted, "encrypted"],
        [Buffer.from("PAR1____\xff\xff\xff\x7fPAR1", "latin1"), "more than the file"],
        [Buffer.from("PAR1\x00\x15\x01\x00\x00\x00PAR1", "latin1"), "the footer is damaged"],
        [Buffer.from("PAR1\x00\x00\x01\x00\x00\x00PAR1", "latin1"), "not the description of a file"]
      ] as const) {
        const error = yield* problemOf(content)
        assert(error._tag === "ParquetError")
        assert.include(error.message, what)
        assert.isTrue(error.message.startsWith("x.parquet: "))
      }
    })
  )

  it.live("are located by row group, column and byte", () =>
    Effect.gen(function* () {
      const { bytes } = written(300, { codec: "UNCOMPRESSED", rowGroupSize: 100 })
      const text = Buffer.from(bytes).indexOf("document 150 ")
      const damaged = bytes.slice()
      damaged[text + 9] = 0xff
      const notUtf8 = yield* problemOf(damaged)
      assert(notUtf8._tag === "ParquetError")
      assert.deepInclude(notUtf8, { rowGroup: 1, column: "text" })
      assert.include(notUtf8.message, "not valid UTF-8")

      // The length before the text, now far too large.
      damaged.set(bytes)
      damaged[text - 2] = 0xff
      const tooLong = yield* problemOf(damaged)
      assert(tooLong._tag === "ParquetError")
      assert.deepInclude(tooLong, { rowGroup: 1, column: "text" })
      assert.include(tooLong.message, "the bytes cannot be decoded")
    })
  )

  it.live("cannot make the decoder write more values than there are", () =>
    Effect.gen(function* () {
      const data = Array.from({ length: 100 }, (_, i) => `${i}`)
      const columnData = [{ name: "text", data, type: "STRING", nullable: true } as const]
      const bytes = new Uint8Array(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED" }))
      // The definition levels, one run: 100 times 1. Then the same run, 8191 times 1.
      const run = Buffer.from(bytes).indexOf(Buffer.from([0xc8, 0x01, 0x01]))
      bytes.set([0xfe, 0x7f, 0x01], run)
      const error = yield* problemOf(bytes)
      assert(error._tag === "ParquetError")
      assert.deepInclude(error, { rowGroup: 0, column: "text" })
      assert.include(error.message, "the column has more than 100 values for 100 rows")
    })
  )

  it.live("are noticed where a text's length is another one, in every layout of pages", () =>
    Effect.gen(function* () {
      const texts = ["first one", "second", "the last text"]
      // Of each layout, bytes of a length and how many before its number they begin.
      const lastLength = Buffer.from("\r\0\0\0the last text")
      const deltas = Buffer.from([128, 1, 4, 3, 18])
      const layouts = [
        { encoding: "PLAIN", data: texts, found: lastLength, at: 0, numbers: [0, 12, 14, 40, 255] },
        { encoding: "DELTA_LENGTH_BYTE_ARRAY", data: texts, found: deltas, at: 4, numbers: [0, 16, 20] },
        // The dictionary has each once.
        { data: Array.from({ length: 300 }, (_, i) => texts[i % 3]!), found: lastLength, at: 0, numbers: [0, 12, 14] }
      ] as const
      for (const { at, data, found, numbers, ...encoding } of layouts)
        for (const number of [undefined, ...numbers]) {
          const changed = (page: Uint8Array) => {
            const bytes = page.slice()
            const place = Buffer.from(bytes).indexOf(found)
            if (number !== undefined && place >= 0) bytes[place + at] = number
            return bytes
          }
          const columnData = [{ name: "text", type: "STRING", nullable: false, data, ...encoding } as const]
          const compressors = { ZSTD: (page: Uint8Array) => zstdCompressSync(changed(page)) }
          for (const bytes of [
            changed(new Uint8Array(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED" }))),
            new Uint8Array(parquetWriteBuffer({ columnData, codec: "ZSTD", compressors }))
          ]) {
            if (number === undefined) {
              const read = yield* allRows(inMemory(bytes))
              assert.deepStrictEqual(
                read,
                data.map(text => ({ text }))
              )
              continue
            }
            const error = yield* problemOf(bytes)
            assert(error._tag === "ParquetError")
            assert.deepInclude(error, { rowGroup: 0, column: "text" })
          }
        }
    })
  )

  it.live("are noticed by the checksum of the page, if there is one", () =>
    Effect.gen(function* () {
      const bytes = readFileSync(fixture("v2-zstd.parquet"))
      const damaged = Uint8Array.from(bytes)
      const zstdFrame = bytes.indexOf(Buffer.from("28b52ffd", "hex"))
      damaged[zstdFrame + 8]! ^= 1
      const error = yield* problemOf(damaged)
      assert.include(error.message, "checksum")
    })
  )

  it.live("end within a chunk when the file is shorter than its footer says", () =>
    Effect.gen(function* () {
      const { bytes } = written(300)
      const whole = inMemory(bytes)
      const file = {
        ...whole,
        read: (start: number, end: number) => whole.read(start, end === bytes.length ? end : 100)
      }
      const error = yield* Effect.flip(allRows(file))
      assert.include(error.message, "the file ends here, before its footer says so")
    })
  )
})

describe("any bytes", () => {
  const limits = { bytes: 2 ** 31, millis: 5000 }
  /** Rows or a ParquetError: nothing else, and in bounded time and memory. */
  const survives = async (bytes: Uint8Array) => {
    for (const rows of [Infinity, 10]) {
      const result = await Effect.runPromise(Effect.result(firstRows({ file: inMemory(bytes), rows, limits })))
      if (result._tag === "Failure") {
        assert.instanceOf(result.failure, ParquetError)
        assert.isFalse(/[\u0000-\u001f]/.test(result.failure.message))
      }
    }
  }

  const originals = [
    ...fixtures.map(name => Uint8Array.from(readFileSync(fixture(name)))),
    written(200, { rowGroupSize: 90, pageSize: 400 }).bytes,
    written(200, { codec: "UNCOMPRESSED", pageSize: 400 }).bytes
  ]
  const original = fc.constantFrom(...originals)
  const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

  it("cut off anywhere give rows or an error", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(original, share, (bytes, at) => survives(bytes.slice(0, Math.floor(at * bytes.length)))),
      { numRuns: 100 }
    )
  )

  it("with damaged data give rows or an error", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(
        original,
        fc.array(fc.tuple(share, fc.nat(255)), { minLength: 1, maxLength: 5 }),
        (bytes, damage) => {
          const damaged = bytes.slice()
          for (const [at, value] of damage) damaged[Math.floor(at * bytes.length)] = value
          return survives(damaged)
        }
      ),
      { numRuns: 150 }
    )
  )

  it("with a damaged footer give rows or an error", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(
        original,
        fc.array(fc.tuple(share, fc.nat(255)), { minLength: 1, maxLength: 3 }),
        (bytes, damage) => {
          const damaged = bytes.slice()
          const footer = new DataView(bytes.buffer).getUint32(bytes.length - 8, true) + 8
          for (const [at, value] of damage) damaged[bytes.length - footer + Math.floor(at * footer)] = value
          return survives(damaged)
        }
      ),
      { numRuns: 150 }
    )
  )

  it("at random, framed as a footer, give rows or an error", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async bytes => {
        const length = Buffer.alloc(4)
        length.writeUInt32LE(bytes.length)
        await survives(bytes)
        await survives(Uint8Array.from(Buffer.concat([Buffer.from("PAR1"), bytes, length, Buffer.from("PAR1")])))
      }),
      { numRuns: 200 }
    )
  )
})

describe("files that are there to keep us busy, or to fill our memory", () => {
  const snappyBytes = (packed: ReadonlyArray<number>) =>
    new Uint8Array(
      parquetWriteBuffer({
        columnData: [{ name: "text", data: ["a".repeat(6)], type: "STRING", nullable: false }],
        compressors: { SNAPPY: () => Uint8Array.from(packed) },
        codec: "SNAPPY"
      })
    )

  it.live(
    "end with the process that decodes them, and the next file gets another",
    () =>
      Effect.gen(function* () {
        // Long enough for the process to start on a busy machine.
        const limits = { bytes: 2 ** 30, millis: 10_000 }
        // A literal of -5 bytes: the decoder is back at it, for ever.
        const endless = inMemory(snappyBytes([10, 0xfc, 0xfa, 0xff, 0xff, 0xff, 1, 2, 3, 4]))
        const error = yield* Effect.flip(firstRows({ file: endless, rows: 1, limits }))
        assert(error._tag === "ParquetError")
        assert.deepInclude(error, { rowGroup: 0, column: "text" })
        assert.include(error.message, "its decoder found no end in 10 s and was stopped")
        const { bytes, expected } = written(10)
        assert.deepStrictEqual(yield* firstRows({ file: inMemory(bytes), rows: 10 }), expected)
      }),
    60_000
  )

  it.live(
    "get no more memory than the decoder may have",
    () =>
      Effect.gen(function* () {
        const data = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? "x" : null))
        const columnData = [{ name: "text", data, type: "STRING" } as const]
        const bytes = new Uint8Array(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED" }))
        // The definition levels, bit-packed: 25 groups of 1, 0, 1, 0, ... Then a run of 2^31 - 1 of them.
        const levels = Buffer.from(bytes).indexOf(Buffer.from([51, 0x55, 0x55, 0x55, 0x55, 0x55]))
        assert.isAbove(levels, 0)
        bytes.set([0xfe, 0xff, 0xff, 0xff, 0x0f, 0x01], levels)
        const limits = { bytes: 2 ** 30, millis: 300_000 }
        const error = yield* Effect.flip(firstRows({ file: inMemory(bytes), rows: 1, limits }))
        assert.include(error.message, "it may need more than 1.07 GB of memory")
      }),
    120_000
  )

  it.live("are refused by how much their pages decompress to, before they are", () =>
    Effect.gen(function* () {
      const bytes = parquetWriteBuffer({
        columnData: [{ name: "text", data: ["a".repeat(70 * 2 ** 20)], type: "STRING", nullable: false }],
        compressors: { ZSTD: input => zstdCompressSync(input) },
        codec: "ZSTD"
      })
      assert.isBelow(bytes.byteLength, 20_000)
      assert.match(
        (yield* problemOf(new Uint8Array(bytes))).message,
        /pages of \d+ bytes are said to decompress to 7340\d+/
      )
    })
  )

  it.live("a footer has a bound, however large the file", () =>
    Effect.gen(function* () {
      const ending = Buffer.alloc(8)
      ending.writeUInt32LE(2 ** 31, 0)
      ending.write("PAR1", 4)
      const size = 2 ** 33
      const file: RandomAccess = {
        name: "x.parquet",
        size: Effect.succeed(size),
        read: (start, end) =>
          Effect.sync(() => {
            const found = new Uint8Array(end - start)
            if (end === size) found.set(ending, found.length - 8)
            return found
          })
      }
      assert.include((yield* Effect.flip(parquetShape(file))).message, "more than 268435456")
    })
  )
})
