/** The download stages against files, the program's own assets, and a hub on this machine. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Exit, Scope } from "effect"
import { identify, obtain } from "../../src/hub/obtain.ts"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { encodeHeader } from "../../src/formats/safetensors.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { loopbackHub, type LoopbackHub } from "../support/loopbackHub.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

const one = (build: () => Pipeline.Targets) =>
  Pipeline.make(
    "download-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    build
  )

const documents = (parameters: Omit<Parameters<typeof downloadDocuments>[0], "name">) =>
  one(() => downloadDocuments(parameters as never))

let directory: ReturnType<typeof temporaryDirectory>
let cache: string
let hub: LoopbackHub
let scope: Scope.Closeable
const environment = { ...process.env }

beforeEach(async () => {
  directory = temporaryDirectory()
  cache = join(directory.path, "cache")
  scope = await Effect.runPromise(Scope.make())
  hub = await Effect.runPromise(Scope.provide(loopbackHub, scope))
  process.env["HF_ENDPOINT"] = hub.url
  process.env["HF_HOME"] = join(directory.path, "hf")
  delete process.env["HF_TOKEN"]
})

afterEach(async () => {
  process.env = { ...environment }
  await Effect.runPromise(Scope.close(scope, Exit.void))
  directory.remove()
})

describe("fields that nobody asked for", () => {
  const image = new Uint8Array(1000).fill(0xff)

  /** A file with a column of text, and one that says it is text and is none. */
  const parquet = async (count: number) => {
    const { parquetWriteBuffer } = await import("hyparquet-writer")
    const column = (name: string, value: (i: number) => unknown, type: "BYTE_ARRAY" | "STRING" | "INT32") => ({
      name,
      data: Array.from({ length: count }, (_, i) => value(i)),
      type
    })
    const bytes = Buffer.from(
      parquetWriteBuffer({
        codec: "UNCOMPRESSED",
        columnData: [
          column("image", () => image, "BYTE_ARRAY"),
          column("text", i => `text ${i}`, "STRING"),
          column("meta", i => `no text ${i}`, "STRING"),
          column("n", i => i, "INT32")
        ]
      })
    )
    for (let at = bytes.indexOf("no text"); at !== -1; at = bytes.indexOf("no text")) bytes.fill(0xff, at, at + 7)
    return bytes
  }
  const textOf = (ran: Awaited<ReturnType<typeof runPipeline>>, path: string) => ran.text("download-documents", path)

  it.each([{ rows: 2 }, {}])("of a Parquet file are neither read nor kept, with %o", async rows => {
    const file = join(directory.path, "texts.parquet")
    writeFileSync(file, await parquet(2))
    const ran = await runPipeline(documents({ source: `file:${file}`, ...rows }), { cache })
    assert.strictEqual(ran.status, "done", ran.failures[0]?.message)
    const [kept] = ran.manifest("download-documents").files
    assert.strictEqual(textOf(ran, kept!.path), `{"text":"text 0"}\n{"text":"text 1"}\n`)
  })

  it("of lines of JSON are not kept; a file without any is kept as it is", async () => {
    const file = join(directory.path, "texts.jsonl")
    writeFileSync(file, `{"text":"one",  "image":"…"}\n{"text": "two"}\n`)
    const ran = await runPipeline(documents({ source: `file:${file}` }), { cache })
    assert.strictEqual(textOf(ran, "texts.jsonl"), `{"text":"one"}\n{"text":"two"}\n`)
    assert.deepStrictEqual(ran.manifest("download-documents").metadata, { bytes: 6, documents: 2 })
    const whole = `{"idx": 3, "prompt":"a", "response": "b"}\n{"prompt":"c","response":"d"}\n`
    writeFileSync(file, whole)
    const kept = await runPipeline(documents({ source: `file:${file}`, dataType: "prompt_response" }), { cache })
    assert.strictEqual(textOf(kept, "texts.jsonl"), whole)
  })

  it("may have a key twice below them", async () => {
    const file = join(directory.path, "rows.jsonl")
    writeFileSync(file, '{"text":"a","meta":{"x":1,"x":2}}\n')
    const ran = await runPipeline(documents({ source: `file:${file}`, dataType: "plaintext" }), { cache })
    assert.deepStrictEqual(ran.failures, [])
  })

  it("of rows that a task reads are those that `columns` does not name", async () => {
    const file = join(directory.path, "problems.parquet")
    writeFileSync(file, await parquet(2))
    const asked = { source: `file:${file}`, dataType: "fields", columns: ["n", "text"] } as const
    const whole = await runPipeline(documents({ source: asked.source, dataType: "fields" }), { cache })
    assert.match(whole.failures[0]!.message, /meta/)
    const ran = await runPipeline(documents(asked), { cache })
    assert.strictEqual(textOf(ran, "problems.parquet.jsonl"), `{"n":0,"text":"text 0"}\n{"n":1,"text":"text 1"}\n`)
    const missing = await runPipeline(documents({ ...asked, columns: ["answer"] }), { cache })
    assert.match(
      missing.failures[0]!.message,
      /^problems\.parquet: there is no column "answer"; there are: image, text, meta, n/
    )
  })
})

describe("documents from a file", () => {
  it("are keyed by content: a moved or touched file re-runs nothing, a changed byte does", async () => {
    const [first, second] = [join(directory.path, "a", "texts.jsonl"), join(directory.path, "texts.jsonl")]
    const { mkdirSync, renameSync, utimesSync } = await import("node:fs")
    mkdirSync(join(directory.path, "a"))
    writeFileSync(first, `{"text":"one"}\n{"text":"zwei"}\n`)
    const ran = await runPipeline(documents({ source: `file:${first}` }), { cache })
    assert.deepStrictEqual([ran.status, ran.executed], ["done", 1])
    assert.deepStrictEqual(ran.manifest("download-documents").metadata, { bytes: 7, documents: 2 })
    utimesSync(first, 1, 1)
    renameSync(first, second)
    assert.strictEqual((await runPipeline(documents({ source: `file:${second}` }), { cache })).executed, 0)
    writeFileSync(second, `{"text":"one"}\n{"text":"drei"}\n`)
    assert.strictEqual((await runPipeline(documents({ source: `file:${second}` }), { cache })).executed, 1)
  })

  it("that a later stage could not use are an error with file, line and column", async () => {
    const file = join(directory.path, "texts.jsonl")
    writeFileSync(file, `{"text":"one"}\n{"text":2}\n`)
    const ran = await runPipeline(documents({ source: `file:${file}` }), { cache })
    assert.strictEqual(ran.status, "failed")
    assert.match(ran.failures[0]!.message, /^texts\.jsonl:2:\d+: /)
  })

  it("may be rows of any fields, which a task reads by its own schema", async () => {
    const file = join(directory.path, "problems.jsonl")
    writeFileSync(file, `{"question":"1+1","answers":["2"]}\n{"other":3}\n`)
    const ran = await runPipeline(documents({ source: `file:${file}`, dataType: "fields" }), { cache })
    assert.deepStrictEqual(ran.manifest("download-documents").metadata, { bytes: 34 + 11, documents: 2 })
    writeFileSync(file, "[1]\n")
    const refused = await runPipeline(documents({ source: `file:${file}`, dataType: "fields" }), { cache })
    assert.match(refused.failures[0]!.message, /problems\.jsonl:1:1: a record must be an object, got a list/)
  })

  it("that change between planning and running get their own key", async () => {
    const file = join(directory.path, "texts.jsonl")
    const [one, two] = [`{"text":"one"}\n`, `{"text":"and two"}\n`]
    writeFileSync(file, one)
    const pipeline = documents({ source: `file:${file}` })
    const ran = await runPipeline(pipeline, { cache, afterPlanning: () => writeFileSync(file, two) })
    assert.strictEqual(ran.status, "done")
    assert.deepStrictEqual(
      ran.events.flatMap(event => (event.type === "changed" ? [event.dropped] : [])),
      [false]
    )
    assert.match(ran.text("download-documents", "texts.jsonl"), /two/)
    assert.strictEqual((await runPipeline(pipeline, { cache })).executed, 0)
    writeFileSync(file, one)
    const again = await runPipeline(pipeline, { cache })
    assert.strictEqual(again.executed, 1, "nothing lies under the key of what was there when the first run was planned")
    assert.match(again.text("download-documents", "texts.jsonl"), /one/)
  })

  it("of a directory: one that came and one that went count like one that changed", async () => {
    const folder = join(directory.path, "texts")
    const { mkdirSync, rmSync } = await import("node:fs")
    mkdirSync(folder)
    for (const name of ["a", "b"]) writeFileSync(join(folder, `${name}.jsonl`), `{"text":"${name}"}\n`)
    const pipeline = documents({ source: `file:${folder}` })
    const ran = await runPipeline(pipeline, {
      cache,
      afterPlanning: () => {
        rmSync(join(folder, "b.jsonl"))
        writeFileSync(join(folder, "c.jsonl"), `{"text":"c"}\n`)
      }
    })
    assert.strictEqual(ran.status, "done")
    const names = (of: typeof ran) => of.manifest("download-documents").files.map(({ path }) => path)
    assert.deepStrictEqual(names(ran), ["a.jsonl", "c.jsonl"])
    rmSync(join(folder, "c.jsonl"))
    writeFileSync(join(folder, "b.jsonl"), `{"text":"b"}\n`)
    const again = await runPipeline(pipeline, { cache })
    assert.deepStrictEqual([again.executed, ...names(again)], [1, "a.jsonl", "b.jsonl"])
  })

  it("of a directory in which a file comes and goes while it is read are not read", async () => {
    const folder = join(directory.path, "texts")
    const { mkdirSync } = await import("node:fs")
    mkdirSync(folder)
    writeFileSync(join(folder, "a.jsonl"), `{"text":"a"}\n`)
    const identity = await Effect.runPromise(
      identify(`file:${folder}`, undefined, {
        fileDigest: () => Effect.succeed({ sha256: "0".repeat(64), size: 1 })
      } as never)
    )
    writeFileSync(join(folder, "b.jsonl"), `{"text":"b"}\n`)
    const refused = await Effect.runPromise(
      Effect.flip(
        obtain({
          source: `file:${folder}`,
          identity,
          directory: join(directory.path, "files"),
          onProgress: () => undefined
        })
      )
    )
    assert.deepStrictEqual(
      [refused.class, refused.message],
      ["stale", `${folder}: b.jsonl was added while the run was under way`]
    )
  })

  it("that do not exist are an error before anything runs", async () => {
    let message = ""
    await runPipeline(documents({ source: "file:nowhere.jsonl" }), { cache }).catch(
      (error: Error) => (message = error.message)
    )
    assert.match(message, /download-documents: .*nowhere\.jsonl/)
  })
})

describe("embedded artifacts", () => {
  it("are adopted: the store gets a manifest, and no copy of the bytes", async () => {
    const ran = await runPipeline(documents({ source: "embedded:web50" }), { cache, layers: [assets] })
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    const [file] = ran.manifest("download-documents").files
    assert.isFalse(existsSync(join(cache, "objects", file!.sha256.slice(0, 2), file!.sha256.slice(2))))
    assert.strictEqual(
      ran.text("download-documents", file!.path),
      readFileSync(join(assets, "web50", "documents.jsonl"), "utf8")
    )
  })

  it("of another kind, or unknown ones, are refused by name", async () => {
    const ran = await runPipeline(documents({ source: "embedded:tokenizer" }), { cache, layers: [assets] })
    assert.match(ran.failures[0]!.message, /of kind tokenizer, not documents/)
    let message = ""
    await runPipeline(documents({ source: "embedded:nothing" }), { cache, layers: [assets] }).catch(
      (error: Error) => (message = error.message)
    )
    assert.match(message, /no artifact named nothing/)
  })
})

describe("the hub", () => {
  it("a branch is resolved once: when it moves, nothing changes until --refresh", async () => {
    const pipeline = documents({ source: "hf://datasets/org/texts@main/texts.jsonl" })
    hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"old"}\n` })
    const ran = await runPipeline(pipeline, { cache })
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    assert.strictEqual(ran.text("download-documents", "texts.jsonl"), `{"text":"old"}\n`)
    hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"new"}\n` })
    assert.strictEqual((await runPipeline(pipeline, { cache })).executed, 0)
    const refreshed = await runPipeline(pipeline, { cache, refresh: true })
    assert.strictEqual(refreshed.executed, 1)
    assert.strictEqual(refreshed.text("download-documents", "texts.jsonl"), `{"text":"new"}\n`)
  })

  it("a branch that moves between planning and running still gives what was planned", async () => {
    hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"old"}\n` })
    const ran = await runPipeline(documents({ source: "hf://datasets/org/texts@main/texts.jsonl" }), {
      cache,
      afterPlanning: () => void hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"new"}\n` })
    })
    assert.strictEqual(ran.text("download-documents", "texts.jsonl"), `{"text":"old"}\n`)
  })

  it("a gated repository is an error that says how to get access", async () => {
    hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"x"}\n` })
    hub.gate("datasets/org/texts", "hf_right")
    let message = ""
    await runPipeline(documents({ source: "hf://datasets/org/texts@main" }), { cache }).catch(
      (error: Error) => (message = error.message)
    )
    assert.match(message, /HF_TOKEN/)
  })

  it("the first rows of a Parquet file are read by ranges, without fetching the file", async () => {
    const { parquetWriteBuffer } = await import("hyparquet-writer")
    const texts = Array.from({ length: 20_000 }, (_, i) => `document ${i} ${"lorem ipsum ".repeat(i % 50)}`)
    const bytes = new Uint8Array(
      parquetWriteBuffer({
        columnData: [{ name: "text", data: texts, type: "STRING" }],
        rowGroupSize: 1000,
        codec: "UNCOMPRESSED"
      })
    )
    hub.commit("datasets/org/big", { "data/0.parquet": { bytes, lfs: true } })
    const before = hub.requests.length
    const ran = await runPipeline(documents({ source: "hf://datasets/org/big@main/data/0.parquet", rows: 50 }), {
      cache
    })
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    const lines = ran.text("download-documents", "documents.jsonl").trimEnd().split("\n")
    assert.deepStrictEqual(
      lines.map(line => (JSON.parse(line) as { text: string }).text),
      texts.slice(0, 50)
    )
    const files = hub.requests
      .slice(before)
      .filter(request => request.path.includes("resolve") || request.server === "cdn")
    assert.isTrue(files.length > 0 && files.every(request => request.range !== undefined), JSON.stringify(files))
    assert.isBelow(directorySize(cache), bytes.length / 4)
  })

  it("a tokenizer is built before it is stored; a broken one is refused", async () => {
    const json = readFileSync(join(assets, "tokenizer", "tokenizer.json"), "utf8")
    hub.commit("models/org/model", { "tokenizer.json": json, "README.md": "# no" })
    const ran = await runPipeline(
      one(() => downloadTokenizer({ source: "hf://models/org/model@main" })),
      { cache }
    )
    assert.deepStrictEqual(
      ran.manifest("download-tokenizer").files.map(({ path }) => path),
      ["tokenizer.json"]
    )
    hub.commit("models/org/broken", { "tokenizer.json": json.slice(0, 1000) })
    const broken = await runPipeline(
      one(() => downloadTokenizer({ source: "hf://models/org/broken@main" })),
      { cache }
    )
    assert.match(broken.failures[0]!.message, /tokenizer\.json/)
  })

  it("a model's tensors are counted from its headers; a damaged header is refused by name", async () => {
    const { bytes, size } = header({ a: { dtype: "F32", shape: [3, 4] }, b: { dtype: "BF16", shape: [5] } })
    const weights = Buffer.concat([bytes, Buffer.alloc(size - bytes.length)])
    hub.commit("models/org/model", {
      "config.json": "{}",
      "model.safetensors": { bytes: weights, lfs: true },
      "pytorch_model.bin": "no"
    })
    const ran = await runPipeline(
      one(() => downloadModel({ source: "hf://models/org/model@main" })),
      { cache }
    )
    assert.deepStrictEqual(ran.manifest("download-model").metadata, { files: 2, parameters: 17, tensors: 2 })
    hub.commit("models/org/broken", {
      "config.json": "{}",
      "model.safetensors": { bytes: weights.subarray(0, weights.length - 1), lfs: true }
    })
    const broken = await runPipeline(
      one(() => downloadModel({ source: "hf://models/org/broken@main" })),
      { cache }
    )
    assert.match(broken.failures[0]!.message, /model\.safetensors/)
  })

  it("a connection that is cut is continued within one run", async () => {
    const text = `${JSON.stringify({ text: "x".repeat(200_000) })}\n`
    hub.commit("datasets/org/texts", { "texts.jsonl": { bytes: Buffer.from(text), lfs: true } })
    hub.faults.cutAt = [100_000]
    const ran = await runPipeline(documents({ source: "hf://datasets/org/texts@main/texts.jsonl" }), { cache })
    assert.strictEqual(ran.status, "done", JSON.stringify(ran.failures))
    assert.strictEqual(ran.text("download-documents", "texts.jsonl"), text)
  })
})

describe("an https source", () => {
  it("needs its SHA-256 beside it, and is checked against it", async () => {
    let message = ""
    await runPipeline(documents({ source: "https://example.org/x.jsonl" }), { cache }).catch(
      (error: Error) => (message = error.message)
    )
    assert.match(message, /needs its SHA-256/)
    hub.commit("datasets/org/texts", { "texts.jsonl": `{"text":"x"}\n` })
    const url = `${hub.url}/datasets/org/texts/resolve/main/texts.jsonl`
    const ran = await runPipeline(documents({ source: url, sha256: "0".repeat(64) }), { cache })
    assert.match(ran.failures[0]!.message, /sha256/i)
  })
})

const header = (tensors: Record<string, { dtype: "F32" | "BF16"; shape: ReadonlyArray<number> }>) =>
  encodeHeader(Object.entries(tensors).map(([name, tensor]) => ({ name, ...tensor })))

const directorySize = (path: string): number => {
  const { readdirSync } = process.getBuiltinModule("node:fs")
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .map(name => statSync(join(path, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0)
}
