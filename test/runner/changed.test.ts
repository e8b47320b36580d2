/** What was keyed is what ran: code and inputs that change after planning, before an action starts or while it runs. */
import { existsSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import { Effect, Exit } from "effect"
import { assert, describe, it } from "vitest"
import { StageError } from "../../src/pipeline/StageError.ts"
import { labelsOf, newWorld, obey, play, type Played, type Script } from "./scripted.ts"
import { part, planOf } from "./simulatedStages.ts"
import type { World } from "./simulatedWorld.ts"
import * as stages from "./simulatedStages.ts"
import { makeFixture } from "./smallFixture.ts"

/** A world whose stages write the version of their code. */
const editable = (): World => {
  const world = newWorld()
  stages.world.version = stage => {
    const { version } = world.versionOf(stage)
    return version === 0 ? "" : ` v${version}`
  }
  return world
}

const chain = planOf("chain", [part("source", 0), part("mix", 0, [0]), part("mix", 1, [1])], 3)

const changes = ({ events }: Played) =>
  events.flatMap(event => (event.type === "changed" ? [`${event.label}: ${event.what}, ${event.dropped}`] : []))

const statusOf = ({ process }: Played) => Exit.isSuccess(process.exit!) && process.exit.value.status

/** Does something when an attempt has begun. */
const during =
  (label: string, then: (nth: number) => void): Script =>
  (job, work, nth) =>
    job.label === label
      ? Effect.andThen(
          Effect.sync(() => then(nth)),
          work
        )
      : work

describe("code that changes", () => {
  it("before an action starts: it is planned anew, and so is what shares the code, without another word", () => {
    const world = editable()
    const played = play(
      world,
      chain,
      during("source", () => world.edit("mix", 1))
    )
    assert.deepStrictEqual(changes(played), ["mix: its code changed (stage.ts), false"])
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix/2", "source"])
    const log = world.disk.files().get("/cache/logs/1/mix.1.log")!
    assert.match(Buffer.from(log).toString(), /^# mix, attempt 1, .*\n# planned anew: its code changed \(stage\.ts\)\n/)
    // What it computed is found under the key of the new code, and the old is not under its own.
    assert.deepStrictEqual(labelsOf(play(world, chain, obey)), [])
    world.edit("mix", 0)
    assert.deepStrictEqual(labelsOf(play(world, chain, obey)), ["mix", "mix/2"])
  })

  it("to what was run before: its result is found, and nothing starts", () => {
    const world = editable()
    play(world, chain, obey)
    world.edit("mix", 1)
    // It was planned with the new code, of which nothing is known; when its turn comes, the old one is back.
    const plan = planOf("chain", [part("source", 0, [], false), part("mix", 0, [0]), part("mix", 1, [1])], 3)
    const played = play(world, plan, obey, {
      ports: ports => {
        world.edit("mix", 0)
        return ports
      }
    })
    assert.deepStrictEqual(changes(played), ["mix: its code changed (stage.ts), false"])
    assert.deepStrictEqual(labelsOf(played), [])
    assert.strictEqual(statusOf(played), "done")
  })

  it("while it runs: its result is dropped, said once, and it runs again under the right key", () => {
    const world = editable()
    const played = play(
      world,
      chain,
      during("mix", nth => nth === 1 && world.edit("mix", 1))
    )
    assert.deepStrictEqual(changes(played), ["mix: its code changed (stage.ts), and mix.ts was written to, true"])
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix", "mix/2", "source"])
    assert.strictEqual(statusOf(played), "done")
    assert.deepStrictEqual(labelsOf(play(world, chain, obey)), [])
    const failed = world.database.all<{ class: string; message: string; attempt: number }>(
      "SELECT class, message, attempt FROM execution WHERE status = 'failed'"
    )
    assert.deepStrictEqual(
      failed.map(row => ({ ...row })),
      [{ class: "stale", message: "its code changed (stage.ts), and mix.ts was written to while it ran", attempt: 1 }]
    )
    assert.deepStrictEqual(
      world.database.column("SELECT log FROM execution WHERE label = 'mix' ORDER BY id"),
      ["logs/1/mix.1.log", "logs/1/mix.2.log"],
      "each has its own log"
    )
    assert.match(
      Buffer.from(world.disk.files().get("/cache/logs/1/mix.1.log")!).toString(),
      /its code changed .* while it ran: its result is dropped/
    )
    assert.deepStrictEqual(
      world.database.column("SELECT name FROM remembered"),
      [],
      "nothing is remembered of what ended"
    )
  })

  it("and is put back while it runs: what was read in between is not known, so the result is dropped", () => {
    const world = editable()
    const played = play(
      world,
      chain,
      during("mix", nth => {
        if (nth > 1) return
        world.edit("mix", 1)
        world.edit("mix", 0)
      })
    )
    assert.deepStrictEqual(changes(played), ["mix: mix.ts was written to, true"])
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix", "mix/2", "source"])
  })

  it("again and again: ends in a failure that says what, not in an endless loop", () => {
    const world = editable()
    let version = 0
    const played = play(
      world,
      chain,
      during("mix", () => world.edit("mix", ++version))
    )
    const failures = played.events.filter(event => event.type === "failed")
    assert.strictEqual(failures.length, 1)
    assert.match(failures[0]!.message, /its code changed .* \(for the 4th time: it does not come to rest\)/)
    assert.strictEqual(failures[0]!.class, "stale")
    assert.strictEqual(statusOf(played), "failed")
    assert.strictEqual(labelsOf(played).filter(label => label === "mix").length, 4)
  })

  it("for two nodes that are the same action: both get what is computed under the new key", () => {
    const world = editable()
    const plan = planOf(
      "twins",
      [part("source", 0), part("mix", 0, [0]), part("mix", 0, [0]), part("mix", 1, [1]), part("mix", 2, [2])],
      5
    )
    const played = play(
      world,
      plan,
      during("mix", nth => nth === 1 && world.edit("mix", 1))
    )
    assert.strictEqual(statusOf(played), "done")
    const found = played.process.outputs()
    assert.strictEqual(found.get("mix.text"), found.get("mix/2.text"))
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix", "mix/3", "mix/4", "source"])
    assert.deepStrictEqual(labelsOf(play(world, plan, obey)), [])
  })

  it("so that it cannot be read: the action fails with what is wrong", () => {
    const world = editable()
    const played = play(world, chain, obey, {
      ports: ports => ({
        ...ports,
        look: node =>
          node.label === "mix"
            ? Effect.fail(new StageError({ class: "permanent", message: "mix.ts:3:1: unexpected end of file" }))
            : ports.look(node)
      })
    })
    const failures = played.events.flatMap(event => (event.type === "failed" ? [event.message] : []))
    assert.deepStrictEqual(failures, ["mix.ts:3:1: unexpected end of file"])
    assert.deepStrictEqual(labelsOf(played), ["source"])
  })
})

describe("the checkpoint of a dropped result", () => {
  it("is not gone on from, also if it comes back: by a power cut, or a process that went on writing", () => {
    const items = planOf("items", [part("source", 0), part("fold", 0, [0])], 1)
    const right = play(editable(), items, obey).process.outputs().get("split.items")
    const world = editable()
    const isKept = (path: string) => path.startsWith("/cache/checkpoints/")
    let kept: ReadonlyArray<readonly [string, Uint8Array]> = []
    play(world, items, (job, work, nth) =>
      job.label !== "split" || nth > 1
        ? work
        : Effect.sync(() => world.edit("split", 1)).pipe(
            Effect.andThen(work),
            Effect.tap(() => Effect.sync(() => (kept = [...world.disk.files()].filter(([path]) => isKept(path)))))
          )
    )
    assert.isNotEmpty(kept)
    assert.isEmpty([...world.disk.files().keys()].filter(isKept))
    for (const [path, bytes] of kept) {
      Effect.runSync(world.disk.mkdir(dirname(path)))
      Effect.runSync(world.disk.write(path, bytes))
    }
    world.edit("split", 0)
    assert.strictEqual(play(world, items, obey).process.outputs().get("split.items"), right)
  })
})

describe("an action's process that finds other sources than were fingerprinted", () => {
  it("is planned anew", () => {
    const world = editable()
    const played = play(world, chain, (job, work, nth) =>
      job.label === "mix" && nth === 1
        ? Effect.sync(() => {
            world.edit("mix", 1)
            return { _tag: "Failed", class: "stale", message: "mix.ts is not what was fingerprinted" }
          })
        : work
    )
    assert.deepStrictEqual(changes(played), ["mix: mix.ts is not what was fingerprinted, true"])
    assert.strictEqual(statusOf(played), "done")
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix", "mix/2", "source"])
    assert.deepStrictEqual(labelsOf(play(world, chain, obey)), [])
  })
})

const pipeline = `
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
import { word } from "./word.ts"
import { file } from "./file.ts"
const Text = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })
const options = { inputs: { after: Artifact.optional(Text) }, parameters: Schema.Struct({}), outputs: { text: Text } }
export const wait = Stage.make("wait", { ...options,
  run: Effect.fn("wait")(function* ({ outputs }) {
    writeFileSync("begun", "")
    while (existsSync("hold")) yield* Effect.sleep(20)
    yield* outputs.text.write("t", "")
    yield* outputs.text.metadata({})
  }) })
export const read = Stage.make("read", { ...options,
  identity: (_, { fileDigest }) => Effect.map(fileDigest("in.txt"), ({ sha256 }) => ({ sha256 })),
  run: Effect.fn("read")(function* ({ outputs }) {
    yield* outputs.text.write("t", readFileSync("in.txt", "utf8"))
    yield* outputs.text.metadata({})
  }) })
export const name = Stage.make("name", { ...options,
  identity: (_, { fileDigest }) => Effect.map(fileDigest(file), ({ sha256 }) => ({ sha256 })),
  run: Effect.fn("name")(function* ({ outputs }) {
    yield* outputs.text.write("t", readFileSync(file, "utf8"))
    yield* outputs.text.metadata({})
  }) })
export const say = Stage.make("say", { ...options,
  run: Effect.fn("say")(function* ({ outputs }) {
    yield* outputs.text.write("t", word())
    yield* outputs.text.metadata({})
  }) })
export default Pipeline.make("w",
  { description: "d", profiles: { p: { description: "p", needs: "nothing", make: () => ({}) } } },
  () => {
    const after = wait({})
    return { read: read({ after }), say: say({ after }), name: name({ after }) }
  })
`
const word = (text: string) => `export const word = () => {\n  const all = ["${text}"]\n  return all.join("")\n}\n`

describe("a run of the real program, while whose first stage works the file and the code of the others change", () => {
  it("computes the changed ones under keys of their own: put back, they are computed as they are", async () => {
    const fixture = makeFixture(["before"])
    fixture.write("w.ts", pipeline)
    fixture.write("word.ts", word("before"))
    fixture.write("file.ts", `export const file = "fixed.txt"`)
    fixture.write("fixed.txt", "")
    fixture.write("hold", "")
    const { ended } = fixture.start(["run", "./w.ts"])
    while (!existsSync(join(fixture.folder, "begun"))) await new Promise(resolve => setTimeout(resolve, 20))
    fixture.write("in.txt", "after")
    fixture.write("word.ts", word("after"))
    rmSync(join(fixture.folder, "hold"))
    const first = await ended
    assert.strictEqual(first.code, 0, first.stderr)
    assert.match(first.stderr, /read +what its parameters stand for changed \(in\.txt\) since the run was planned/)
    assert.match(first.stderr, /say +its code changed \(word\.ts\) since the run was planned: it is planned anew/)
    const changed = fixture.results()

    fixture.write("in.txt", "before\n")
    fixture.write("word.ts", word("before"))
    const second = await fixture.start(["run", "./w.ts"]).ended
    assert.strictEqual(second.code, 0, second.stderr)
    assert.deepStrictEqual(fixture.executed(), ["read", "say"])
    for (const label of ["read", "say"]) assert.notStrictEqual(fixture.results()[label], changed[label], label)

    fixture.write("in.txt", "after")
    fixture.write("word.ts", word("after"))
    const third = await fixture.start(["run", "./w.ts"]).ended
    assert.strictEqual(third.code, 0, third.stderr)
    assert.deepStrictEqual(fixture.executed(), [], "both are known under their keys")
    assert.deepStrictEqual(fixture.results(), changed)
  })

  it("takes the identity of the new code for a result of the new code", async () => {
    const fixture = makeFixture([])
    fixture.write("w.ts", pipeline)
    fixture.write("word.ts", word("before"))
    const named = (file: string) => fixture.write("file.ts", `export const file = "${file}"`)
    named("in.txt")
    fixture.write("in.txt", "one")
    fixture.write("other.txt", "two")
    fixture.write("hold", "")
    const { ended } = fixture.start(["run", "./w.ts"])
    while (!existsSync(join(fixture.folder, "begun"))) await new Promise(resolve => setTimeout(resolve, 20))
    named("other.txt")
    rmSync(join(fixture.folder, "hold"))
    const first = await ended
    assert.strictEqual(first.code, 0, first.stderr)
    assert.match(first.stderr, /name +its code changed \(file\.ts\), .* since the run was planned: it is planned anew/)
    assert.deepStrictEqual(fixture.executed(), ["name", "read", "say", "wait"])
    const second = await fixture.start(["run", "./w.ts"]).ended
    assert.strictEqual(second.code, 0, second.stderr)
    assert.deepStrictEqual(fixture.executed(), [])
    named("in.txt")
    assert.strictEqual((await fixture.start(["run", "./w.ts"]).ended).code, 0)
    assert.deepStrictEqual(fixture.executed(), ["name"], "nothing is known of the old code")
  })
})
