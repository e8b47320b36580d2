/** Results whose bytes are damaged or gone: made again as often as it helps, and handed to all who have to do with them. */
import { Effect, Exit } from "effect"
import { assert, describe, it } from "vitest"
import type { Ended } from "../../src/executors/Executor.ts"
import * as Actions from "../../src/ledger/Actions.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { labelsOf, newWorld, obey, play } from "./scripted.ts"
import { part, planOf } from "./simulatedStages.ts"
import type { World } from "./simulatedWorld.ts"

/** What the ledger says that a stage's only action returned. */
const outputOf = (world: World, stage: string): Digest => {
  const digests = world.database.column<Buffer>(
    `SELECT artifact.digest FROM artifact JOIN output ON output.artifact = artifact.id
     JOIN action ON action.id = output.action JOIN stage ON stage.id = action.stage WHERE stage.name = ?`,
    stage
  )
  assert.strictEqual(digests.length, 1)
  return Buffer.from(digests[0]!).toString("hex") as Digest
}

describe("an input that is called damaged again and again", () => {
  it("ends in a failure with its cause, not in an endless loop", () => {
    const plan = planOf("ghosts", [part("source", 0), part("mix", 0, [0])], 1)
    const played = play(newWorld(), plan, (job, work) =>
      job.label === "source"
        ? work
        : Effect.succeed<Ended>({
            _tag: "Failed",
            class: "damaged",
            message: "object 1234 is damaged",
            artifact: sha256("never heard of"),
            object: sha256("never heard of")
          })
    )
    const failures = played.events.filter(event => event.type === "failed")
    assert.strictEqual(failures.length, 1)
    assert.match(failures[0]!.message, /object 1234 is damaged.*does not help/)
    assert.isTrue(Exit.isSuccess(played.process.exit!) && played.process.exit.value.failed === 1)
  })
})

describe("a result of which many objects are damaged", () => {
  it("is made again once, also where the damaged ones are still in its place", () => {
    const world = newWorld()
    const places = Array.from({ length: 10 }, (_, i) => i)
    const plan = planOf("rotten", [...places.map(n => part("source", n)), part("fold", 3, places)], 1)
    play(world, plan, obey)
    // Items that are objects of their own, all of them; whoever reads the set finds the first one only, and moves that aside.
    const items = [...world.disk.files()].filter(([path, bytes]) => path.includes("/objects/") && bytes.length > 5000)
    assert.isAbove(items.length, 4)
    for (const [path] of items) world.disk.corrupt(path, bytes => bytes.fill(0))
    Actions.markArtifacts(world.database, [outputOf(world, "fold")], "collected")
    const played = play(world, plan, obey)
    assert.deepStrictEqual(labelsOf(played), ["fold", "fold", "split"], "read in vain, made again, read")
    assert.isTrue(Exit.isSuccess(played.process.exit!) && played.process.exit.value.status === "done")
    for (const [path, bytes] of items) assert.deepStrictEqual(world.disk.files().get(path), bytes)
  })
})

describe("an earlier set whose items an action looks for", () => {
  it("stays in its place when it cannot be read: nobody would be told that it is lost", () => {
    const world = newWorld()
    play(world, planOf("one set", [part("source", 0), part("fold", 0, [0])], 1), obey)
    const set = world.objectPath(outputOf(world, "split"))
    let refused = 0
    world.disk.failWith = ({ name, path }) => (name === "read" && path === set && refused++ === 0 ? "EIO" : undefined)
    // The next set is of the same family.
    const played = play(world, planOf("another set", [part("source", 0), part("fold", 1, [0])], 1), obey)
    assert.deepStrictEqual(labelsOf(played), ["fold", "split"])
    assert.strictEqual(refused, 1, "it was looked for")
    world.checkPresent("afterwards")
    assert.deepStrictEqual(world.violations, [])
  })
})

describe("a result that is made again and comes out different", () => {
  it("is handed to all who used it, and to those who used theirs", () => {
    const world = newWorld()
    const chain = [part("source", 0, [], true), part("mix", 0, [0]), part("mix", 1, [1])]
    play(world, planOf("noisy", chain, 1), obey)
    // The bytes of the source go; only a new consumer needs them.
    Actions.markArtifacts(world.database, [outputOf(world, "source")], "collected")
    const played = play(world, planOf("noisy", [...chain, part("mix", 2, [0])], 2), obey)
    assert.deepStrictEqual(labelsOf(played), ["mix", "mix/2", "mix/3", "source"])
    const { plan, resolver } = played.process
    for (const node of plan.nodes) assert.isDefined(resolver.components(node))
    assert.isTrue(played.events.some(event => event.type === "diverged"))
  })

  it("is handed to those who used it by another node of the same action", () => {
    const world = newWorld()
    // Only the second one's bytes are wanted, and only the first one is used: mix depends on source, source/2 is a target.
    const plan = planOf(
      "noisy twins",
      [part("source", 0, [], true), part("mix", 0, [0]), part("source", 0, [], true)],
      2
    )
    play(world, plan, obey)
    Actions.markArtifacts(world.database, [outputOf(world, "source")], "collected")
    const played = play(world, plan, obey)
    assert.deepStrictEqual(labelsOf(played), ["mix", "source/2"])
    const found = played.process.outputs()
    assert.strictEqual(found.get("source.text"), found.get("source/2.text"))
    assert.strictEqual(found.get("source.text"), outputOf(world, "source"))
    assert.deepStrictEqual(labelsOf(play(world, plan, obey)), [], "the next run has nothing to do")
  })
})

describe("an action of which many inputs are gone or damaged", () => {
  const places = [0, 1, 2, 3, 4, 5]
  const plan = planOf("six", [...places.map(n => part("source", n)), part("mix", 0, places)], 1)
  /** The objects of six sources: those that are not what all of them share. */
  const objectsOf = (world: World) =>
    [...world.disk.files()].flatMap(([path, bytes]) =>
      path.includes("/objects/") && Buffer.from(bytes).toString().startsWith("source ") ? [path] : []
    )

  for (const [how, harm] of [
    ["deleted", (world: World, path: string) => Effect.runSync(world.disk.unlink(path))],
    ["damaged", (world: World, path: string) => world.disk.corrupt(path, bytes => bytes.fill(0))]
  ] as const)
    it(`is computed by one run, which makes all again that is ${how}, each once`, () => {
      const world = newWorld()
      play(world, plan, obey)
      const objects = objectsOf(world)
      assert.strictEqual(objects.length, 6)
      for (const path of objects) harm(world, path)
      Actions.markArtifacts(world.database, [outputOf(world, "mix")], "collected")
      const played = play(world, plan, obey)
      assert.isTrue(Exit.isSuccess(played.process.exit!) && played.process.exit.value.status === "done")
      const sources = places.map(n => (n === 0 ? "source" : `source/${n + 1}`))
      assert.deepStrictEqual(labelsOf(played), ["mix", "mix", ...sources], "read in vain, all made again, read")
      assert.strictEqual(played.events.filter(event => event.type === "damaged").length, 6)
      world.checkPresent("afterwards")
      assert.deepStrictEqual(world.violations, [])
    })

  it("one of which is lost again as often as it is made: ends in a failure that names it", () => {
    const world = newWorld()
    play(world, plan, obey)
    Actions.markArtifacts(world.database, [outputOf(world, "mix")], "collected")
    const [first] = objectsOf(world)
    const played = play(world, plan, (job, work) =>
      job.label === "mix"
        ? Effect.andThen(
            Effect.sync(() => world.disk.corrupt(first!, bytes => bytes.fill(0))),
            work
          )
        : work
    )
    const failures = played.events.flatMap(event => (event.type === "failed" ? [event.message] : []))
    assert.strictEqual(failures.length, 1)
    assert.match(failures[0]!, /\(for the 4th time: making it again does not help\)/)
  })

  it("of which another run has said that they are lost: no process is started before they are made again", () => {
    const world = newWorld()
    play(world, plan, obey)
    Actions.markArtifacts(world.database, [outputOf(world, "mix")], "collected")
    const gone = world.database.column<Buffer>(
      "SELECT artifact.digest FROM artifact JOIN output ON output.artifact = artifact.id JOIN action ON action.id = output.action JOIN stage ON stage.id = action.stage WHERE stage.name = 'source' LIMIT 2"
    )
    const played = play(world, plan, obey, {
      ports: ports => {
        Actions.markArtifacts(
          world.database,
          gone.map(digest => Buffer.from(digest).toString("hex") as Digest),
          "lost"
        )
        return ports
      }
    })
    assert.strictEqual(labelsOf(played).length, 3, "two sources, and one mix")
    assert.isTrue(Exit.isSuccess(played.process.exit!) && played.process.exit.value.status === "done")
  })
})
