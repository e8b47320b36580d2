import { it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result, Scope, Stream } from "effect"
import { describe, expect } from "vitest"
import type { DataRecord } from "../../src/formats/records.ts"
import { decodeSequences } from "../../src/tokens/sequenceCodec.ts"
import { sequencesOf } from "../../src/tokens/sequences.ts"
import { makeTokenizePool, tokenizeStream, TokenizeWorkerError, workerUrl } from "../../src/tokens/tokenizeWorkers.ts"
import { filesIn, loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const files = filesIn(shippedDirectory)
const tokenizer = loadFrom(shippedDirectory)
const sequences = { maxSeqLen: 16 }

/** Documents of very different lengths, so that threads finish out of order. */
const records: ReadonlyArray<DataRecord> = Array.from({ length: 60 }, (_, i) => ({
  kind: "document",
  text: `Document ${i}. `.repeat(i % 7 === 0 ? 2000 : 1 + (i % 5))
}))

const pool = (workers: number, workerFile?: URL) =>
  makeTokenizePool({ workers, tokenizer: files, sequences, workerUrl: workerFile })

describe.each([0, 1, 2])("a pool of %i threads", workers => {
  it.live("gives the sequences of every record, in order", () =>
    Effect.gen(function* () {
      const made = yield* pool(workers)
      const results = yield* Stream.runCollect(tokenizeStream(made, Stream.fromIterable(records), 4))
      expect(results).toHaveLength(records.length)
      for (const [i, record] of records.entries()) {
        const expected = sequencesOf(record, tokenizer, sequences)
        const result = results[i]
        const decoded = Result.getOrThrow(decodeSequences(result?.bytes ?? new Uint8Array(), i))
        expect(decoded.map(({ ids }) => ids)).toEqual(expected.map(({ ids }) => ids))
        expect(result?.sequences).toBe(expected.length)
        expect(result?.tokens).toBe(expected.reduce((sum, { ids }) => sum + ids.length, 0))
        expect(result?.learnt).toBe(result?.tokens)
      }
    }).pipe(Effect.scoped)
  )

  it.live("reads no further ahead than its threads can use", () =>
    Effect.gen(function* () {
      let read = 0
      const source = Stream.fromIterable(records).pipe(
        Stream.rechunk(1),
        Stream.tap(() => Effect.sync(() => void (read += 1)))
      )
      const made = yield* pool(workers)
      yield* tokenizeStream(made, source, 1).pipe(Stream.take(1), Stream.runDrain)
      // The batches under way, the result, and what the stream's own buffers hold.
      expect(read).toBeLessThan(3 * (2 * workers + 1) + 16)
    }).pipe(Effect.scoped)
  )

  it.live("a batch that cannot be tokenized fails, and the pool goes on", () =>
    Effect.gen(function* () {
      const made = yield* pool(workers)
      const broken = [{ kind: "document", text: undefined }] as unknown as ReadonlyArray<DataRecord>
      const error = yield* Effect.flip(made.tokenize(broken))
      expect(error).toBeInstanceOf(TokenizeWorkerError)
      expect(error.message).toMatch(/^tokenizing failed: /)
      expect(yield* made.tokenize(records.slice(0, 2))).toHaveLength(2)
    }).pipe(Effect.scoped)
  )

  it.live("an unusable tokenizer is an error of the file, before any work", () =>
    Effect.gen(function* () {
      const made = makeTokenizePool({ workers, tokenizer: { json: "{}", file: "t.json" }, sequences })
      expect(yield* Effect.flip(made)).toMatchObject({
        _tag: "TokenizerError",
        message: "t.json: model must be an object, got nothing"
      })
    }).pipe(Effect.scoped)
  )
})

describe("threads", () => {
  it.live("that are interrupted forget waiting batches, and end with their scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(pool(1), scope)
      const waiting = yield* Effect.forkChild(
        Effect.forEach(records, record => made.tokenize([record]), { concurrency: "unbounded" })
      )
      yield* Effect.yieldNow
      yield* Fiber.interrupt(waiting)
      expect(yield* made.tokenize(records.slice(0, 1))).toHaveLength(1)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(made.tokenize(records.slice(0, 1)))
      expect(error.message).toMatch(/^a tokenizing thread ended/)
    })
  )

  it.live("whose program is not there are an error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(pool(1, new URL("./doesNotExist.js", import.meta.url)))
      expect(error).toBeInstanceOf(TokenizeWorkerError)
      expect(error.message).toMatch(/^a tokenizing thread died: .*doesNotExist/)
    }).pipe(Effect.scoped)
  )

  it.live("that die in the middle of a batch fail it", () =>
    Effect.gen(function* () {
      const dying = new URL(
        `data:text/javascript,${encodeURIComponent(
          `import { parentPort } from "node:worker_threads"
           parentPort.on("message", () => process.exit(3))
           parentPort.postMessage({ type: "ready" })`
        )}`
      )
      const made = yield* pool(1, dying)
      const error = yield* Effect.flip(made.tokenize(records))
      expect(error.message).toBe("a tokenizing thread ended with code 3")
    }).pipe(Effect.scoped)
  )

  it("are found beside the source and beside the bundle", () => {
    expect(workerUrl("file:///a/src/tokens/tokenizeWorkers.ts").href).toBe("file:///a/src/tokens/tokenizeWorker.ts")
    expect(workerUrl("file:///a/dist/index.js").href).toBe("file:///a/dist/tokenizeWorker.js")
  })
})
