/** What an action's process says that it left is not believed: it is looked at, and what is not so fails the action. */
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { dirname, join } from "node:path"
import { Effect, Exit, Schema } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import { manifestDigest, type Manifest } from "../../src/pipeline/Artifact.ts"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import { canonical, sha256 } from "../../src/pipeline/Digest.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { resultFile } from "../../src/runner/Request.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { newWorld, play, type Script } from "./scripted.ts"
import { part, planOf } from "./simulatedStages.ts"
import type { World } from "./simulatedWorld.ts"

interface Output {
  digest: string
  manifest: { files: Array<{ path: string; sha256: string; size: number }>; metadata: unknown }
}

interface Left {
  key: string
  outputs: Array<Output & { port: string }>
  staged: Array<{ path: string; sha256: string; size: number; file?: string }>
}

/** Changes an output's manifest and gives it the digest that it then has, with its own object where the process would have put it. */
const changed = (left: Left, world: World, change: (manifest: Output["manifest"]) => void) => {
  const output = left.outputs[0]!
  const own = left.staged.find(file => file.sha256 === output.digest)!
  change(output.manifest)
  output.digest = manifestDigest(output.manifest as unknown as Manifest)
  const text = canonical(output.manifest)
  Effect.runSync(world.disk.write(own.path, text))
  Object.assign(own, { sha256: output.digest, size: Buffer.byteLength(text) })
}

const lies: { readonly [what: string]: readonly [lie: (left: Left, world: World) => void, message: RegExp] } = {
  "an artifact without its objects": [left => void (left.staged = []), /list 3 objects that it did not write/],
  "an object that nobody has": [
    (left, world) =>
      changed(left, world, ({ files }) => files.push({ path: "ghost", sha256: sha256("ghost"), size: 5 })),
    /list an object that it did not write and that the store does not have: [0-9a-f]{12} of 5 bytes/
  ],
  "an object of another size": [
    (left, world) => changed(left, world, ({ files }) => void (files[0]!.size += 1)),
    /says that [0-9a-f]{12} has \d+ bytes; it has \d+/
  ],
  "a file outside of its directory": [
    (left, world) => {
      Effect.runSync(world.disk.mkdir("/home"))
      Effect.runSync(world.disk.write("/home/secret", "secret"))
      left.staged.push({ path: "/home/secret", sha256: sha256("secret"), size: 6 })
    },
    /secret lies outside of the action's own directory/
  ],
  "a way out of its directory": [
    left => {
      const [file] = left.staged
      file!.path = join(dirname(file!.path), "x").replace(/x$/, "../../../../ledger.db")
    },
    /lies outside of the action's own directory/
  ],
  "a file that is none": [left => void (left.staged[0]!.path = dirname(left.staged[0]!.path)), /is no regular file/],
  "a file that is not there": [left => void (left.staged[0]!.path += "x"), /ENOENT|no such file/],
  "other bytes than the file has in the end": [
    (left, world) => {
      const { path, size } = left.staged[0]!
      Effect.runSync(world.disk.write(path, "B".repeat(size)))
    },
    /output text: file \S+ was written to after it was hashed/
  ],
  "other bytes than its manifest has in the end": [
    (left, world) => {
      const own = left.staged.find(file => file.sha256 === left.outputs[0]!.digest)!
      Effect.runSync(world.disk.write(own.path, " ".repeat(own.size)))
    },
    /text\.manifest\.json was written to after it was hashed/
  ],
  "that its file is the one that was hashed, which it is not": [
    left => {
      left.staged[0]!.file = "1.2.3.4.5"
      left.staged[0]!.sha256 = sha256("another")
    },
    /was written to after it was hashed/
  ],
  "metadata of another form": [
    (left, world) => changed(left, world, manifest => void (manifest.metadata = { lines: "many" })),
    /metadata of output text does not fit kind text/
  ],
  "a name that leads out of an artifact": [
    (left, world) => changed(left, world, ({ files }) => void (files[0]!.path = "../a")),
    /"\.\.\/a" is refused/
  ],
  "more outputs than the stage has": [left => void left.outputs.push(left.outputs[0]!), /2 outputs instead of 1/],
  "metadata deeper than any": [
    left => {
      let deep: unknown = 1
      for (let i = 0; i < 500; i++) deep = [deep]
      left.outputs[0]!.manifest.metadata = deep
    },
    /nested deeper than/
  ],
  "another key": [left => void (left.key = sha256("another")), /its result is for key/]
}

describe("a result record that says", () => {
  for (const [what, [lie, message]] of Object.entries(lies))
    it(`${what} fails the action, and nothing is published`, () => {
      const world = newWorld()
      const script: Script = (job, work) =>
        Effect.tap(work, () =>
          Effect.sync(() => {
            const path = join(job.directory, resultFile)
            const left = JSON.parse(Buffer.from(Effect.runSync(world.disk.read(path))).toString()) as Left
            lie(left, world)
            Effect.runSync(world.disk.write(path, JSON.stringify(left)))
          })
        )
      const { events, process } = play(world, planOf("lone", [part("source", 0)], 1), script)
      const [failure] = events.flatMap(event => (event.type === "failed" ? [event] : []))
      assert.match(failure?.message ?? "it is believed", message)
      assert.isTrue(Exit.isSuccess(process.exit!) && process.exit.value.failed === 1)
      assert.deepStrictEqual(world.database.all("SELECT * FROM artifact"), [])
      if (what.startsWith("a file outside")) assert.isTrue(world.disk.files().has("/home/secret"))
    })
})

const File = Artifact.kind("file", { description: "a file", metadata: Schema.Struct({}) })

const large = 3 * 1024 * 1024

export const leave = Stage.make("leave", {
  inputs: {},
  parameters: Schema.Struct({ how: Schema.String, outside: Schema.String }),
  outputs: { file: File },
  run: Effect.fn("leave")(function* ({ outputs, parameters: { how, outside }, scratch }) {
    yield* outputs.file.metadata({})
    if (how === "written by path") {
      yield* outputs.file.write("first", "AAAA")
      const path = yield* outputs.file.reserve("second")
      writeFileSync(path, "text")
      return writeFileSync(join(dirname(path), "first"), "BBBB")
    }
    if (how === "told") {
      writeFileSync(join(scratch, "told"), "told")
      yield* outputs.file.place("told", join(scratch, "told"), { sha256: "0".repeat(64), size: 4 })
      return
    }
    const path = yield* outputs.file.reserve("below/file")
    const secret = join(outside, "secret")
    if (how === "link") symlinkSync(secret, path)
    else if (how === "hard link") linkSync(secret, path)
    else if (how === "large") writeFileSync(path, new Uint8Array(large))
    else if (how === "twice") {
      writeFileSync(path, "text")
      linkSync(path, yield* outputs.file.reserve("below/again"))
    } else {
      writeFileSync(path, "text")
      renameSync(dirname(path), join(outside, "moved"))
      symlinkSync(join(outside, "moved"), dirname(path))
    }
  })
})

const left = async (how: string, executed?: (directory: string) => void) => {
  const cache = temporaryDirectory()
  const outside = temporaryDirectory()
  onTestFinished(cache.remove)
  onTestFinished(outside.remove)
  mkdirSync(outside.path, { recursive: true })
  writeFileSync(join(outside.path, "secret"), "secret")
  const pipeline = Pipeline.make(
    "left",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => leave({ how, outside: outside.path })
  )
  const ran = await runPipeline(pipeline, { cache: cache.path, ...(executed === undefined ? {} : { executed }) })
  return { ...ran, secret: () => statSync(join(outside.path, "secret")) }
}

describe("a large file", () => {
  const fileOf = (directory: string) => join(directory, "staging", "file", "below", "file")
  const identityNow = (path: string) => {
    const { ctimeNs, dev, ino, mtimeNs, size } = statSync(path, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(".")
  }
  const overwrite = (path: string) => {
    const file = openSync(path, "r+")
    writeSync(file, "B", large / 2)
    closeSync(file)
  }

  it("that nobody touched since it was hashed is not hashed again", async () => {
    const { manifest, status } = await left("large", directory => {
      const record = JSON.parse(readFileSync(join(directory, resultFile), "utf8")) as Left
      const file = record.staged.find(({ path }) => path === fileOf(directory))!
      assert.strictEqual(file.file, identityNow(file.path))
    })
    assert.strictEqual(status, "done")
    assert.strictEqual(manifest("leave").files[0]!.size, large)
  })

  for (const hidden of [false, true])
    it(`that was written to after it was hashed fails${hidden ? ", also if its time is put back" : ""}`, async () => {
      const { failures, status } = await left("large", directory => {
        const path = fileOf(directory)
        const { atime, mtime } = statSync(path)
        overwrite(path)
        if (hidden) utimesSync(path, atime, mtime)
      })
      assert.strictEqual(status, "failed")
      assert.strictEqual(failures[0]!.message, "output file: file below/file was written to after it was hashed")
    })
})

describe("a stage that leaves", () => {
  it("a file that it wrote to again by its path fails", async () => {
    const { failures, status } = await left("written by path")
    assert.strictEqual(status, "failed")
    assert.strictEqual(failures[0]!.message, "output file: file first was written to after it was hashed")
  })

  it("a file with a digest that it made up fails", async () => {
    const { failures, status } = await left("told")
    assert.strictEqual(status, "failed")
    assert.match(failures[0]!.message, /^output file: file told has other bytes than was said when it was placed/)
  })

  for (const [how, message] of [
    ["link", /below\/file is no regular file/],
    ["linked directory", /below, on the way to its file .*, is no directory/]
  ] as const)
    it(`a ${how} to what lies outside of its directory fails`, async () => {
      const { failures, status } = await left(how)
      assert.strictEqual(status, "failed")
      assert.match(failures[0]!.message, message)
    })

  it("a hard link to somebody's file is done, with a copy: that file stays what it was", async () => {
    const { manifest, secret, status } = await left("hard link")
    assert.strictEqual(status, "done")
    assert.strictEqual(manifest("leave").files[0]!.sha256, sha256("secret"))
    assert.strictEqual(secret().nlink, 1)
    assert.strictEqual(secret().mode & 0o200, 0o200, "it may be written to")
  })

  it("two names of one file of its own is as well as with two files", async () => {
    const { manifest, status } = await left("twice")
    assert.strictEqual(status, "done")
    assert.strictEqual(manifest("leave").files.length, 2)
  })
})
