/** JSON Lines that are compressed. */
import { it as effectIt } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { describe, expect } from "vitest"
import { readRecords } from "../../src/formats/documents.ts"
import { decodeRecord, type RecordOptions } from "../../src/formats/records.ts"

const plaintext: RecordOptions = { dataType: "plaintext" }

describe("compressed JSON Lines", () => {
  const inDirectory = <A, E>(use: (directory: string) => Effect.Effect<A, E>) =>
    Effect.acquireUseRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "documents-"))),
      use,
      directory => Effect.promise(() => rm(directory, { recursive: true }))
    )

  effectIt.effect("reads compressed lines as they are without compression, and says where they are broken", () =>
    inDirectory(directory =>
      Effect.gen(function* () {
        const path = join(directory, "x")
        const lines = Array.from({ length: 3000 }, (_, i) =>
          JSON.stringify({ text: `text ${i} ${"x".repeat(i % 50)}` })
        )
        const compressed = gzipSync(`${lines.join("\n")}\n{"text":1}`)
        const read = (bytes: Uint8Array) =>
          Effect.andThen(
            Effect.promise(() => writeFile(path, bytes)),
            Effect.flip(Stream.runDrain(readRecords(path, decodeRecord(plaintext), "x.jsonl.gz")))
          )
        expect((yield* read(compressed)).message).toBe("x.jsonl.gz:3001:9: text must be a string, got number 1")
        const first = yield* Stream.runCollect(
          Stream.take(readRecords(path, decodeRecord(plaintext), "x.jsonl.gz"), 3000)
        )
        expect(first.map(record => JSON.stringify({ text: (record as { readonly text: string }).text }))).toEqual(lines)
        expect((yield* read(compressed.subarray(0, 200))).message).toMatch(/^x\.jsonl\.gz: could not be read: /)
        expect((yield* read(Buffer.from("no gzip"))).message).toMatch(/^x\.jsonl\.gz: could not be read: /)
      })
    )
  )
})
