/** Identities: a stage that says wrongly what its parameters stand for is told so; a file is one that can be read. */
import { execFileSync } from "node:child_process"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { StageError } from "../../src/pipeline/StageError.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Identities from "../../src/runner/Identities.ts"
import { Database } from "../../src/ledger/Database.ts"
import { plan as planRun, type PlanningOptions } from "../../src/runner/Planning.ts"
import { Resolver } from "../../src/runner/Resolver.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import * as Store from "../../src/store/Store.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { keepCode, recallCode } from "../support/rememberedCode.ts"

const Text = Artifact.kind("text", { description: "a text", metadata: Schema.Struct({}) })

export const wrong = Stage.make("wrong", {
  inputs: {},
  parameters: Schema.Struct({ how: Schema.String }),
  outputs: { text: Text },
  identity: ({ how }, context) => ways[how]!(context) as Effect.Effect<string>,
  run: () => Effect.void
})

const cycle: { self?: unknown } = {}
cycle.self = cycle

const ways: { readonly [how: string]: (context: Stage.IdentityContext) => unknown } = {
  throws: () => {
    throw new Error("oh no")
  },
  dies: () => Effect.die(new Error("oh no")),
  fails: () => Effect.fail("a text"),
  interrupts: () => Effect.interrupt,
  errs: () => Effect.fail(new StageError({ class: "transient", message: "no network", advice: "wait" })),
  bigint: () => Effect.succeed({ size: 1n }),
  cycle: () => Effect.succeed(cycle),
  undefined: () => Effect.succeed(undefined),
  nothing: () => undefined,
  value: () => ({ sha256: "x" }),
  promise: () => Promise.resolve("x"),
  infinite: () => Effect.succeed(Number.POSITIVE_INFINITY),
  date: () => Effect.succeed({ at: new Date(0) }),
  never: () => Effect.never,
  path: ({ fileDigest }) => fileDigest(undefined as never),
  branch: ({ remember }) =>
    remember("branch", Effect.fail(new StageError({ class: "permanent", message: "no network" })))
}

const planning = (how: string, options: Pick<PlanningOptions, "unnamed"> = {}) => {
  const plan = Pipeline.evaluate(
    Pipeline.make(
      "wrong",
      { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
      () => wrong({ name: "one", how })
    )
  )
  const store = Store.make({ root: "/nowhere", disk: nodeDisk })
  // Of its own, with nothing in it but the fingerprint of this file.
  const database = Database.open(":memory:")
  recallCode(database, plan)
  return planRun({
    plan,
    database,
    writable: true,
    store,
    engine: "none",
    dist: undefined,
    refresh: false,
    ...options
  }).pipe(Effect.onExit(() => Effect.sync(() => keepCode(database, plan))))
}
const planned = (how: string) => Effect.runPromise(Effect.flip(planning(how)))

describe("an identity that cannot enter a key", () => {
  const expected: { readonly [how: string]: RegExp } = {
    throws: /the identity of stage wrong failed: oh no$/,
    dies: /the identity of stage wrong failed: oh no$/,
    interrupts: /the identity of stage wrong failed: it was cut off from within$/,
    fails: /the identity of stage wrong failed: "a text"$/,
    errs: /no network$/,
    bigint: /returned what cannot enter a key: size: a bigint has no JSON form$/,
    cycle: /cannot enter a key: self: the value holds itself$/,
    undefined: /cannot enter a key: the value: undefined has no JSON form$/,
    nothing: /returned nothing instead of an Effect$/,
    value: /returned \{"sha256":"x"\} instead of an Effect$/,
    promise: /returned a promise instead of an Effect$/,
    infinite: /Infinity is not a finite number$/,
    date: /at: only plain objects have a JSON form$/,
    path: /undefined: .*path/
  }
  for (const [how, message] of Object.entries(expected)) {
    it(`is an error that names the stage and the label (${how})`, async () => {
      const error = await planned(how)
      assert.match(error.message, /^wrong\/one: /)
      assert.match(error.message, message)
      assert.strictEqual("class" in error && error.class, how === "errs" ? "transient" : "permanent")
    })
  }
})

describe("a name that cannot be asked for", () => {
  it("is a failure, or where that is wanted a node that stays unknown, with the reason", async () => {
    assert.match((await planned("branch")).message, /^wrong\/one: no network$/)
    const { resolver, unresolved } = await Effect.runPromise(planning("branch", { unnamed: "unknown" }))
    assert.deepStrictEqual(resolver.states, [{ _tag: "unknown" }])
    assert.match(unresolved.get(0)!.message, /no network$/)
  })

  it("is all that may stay unknown: another failure is one", async () => {
    const error = await Effect.runPromise(Effect.flip(planning("errs", { unnamed: "unknown" })))
    assert.match(error.message, /no network$/)
  })
})

describe("a file that an identity names", () => {
  it("is refused when it is none, at once, with what it is", async () => {
    const directory = temporaryDirectory()
    onTestFinished(directory.remove)
    const at = (name: string) => join(directory.path, name)
    execFileSync("mkfifo", [at("fifo")])
    mkdirSync(at("directory"))
    symlinkSync(at("fifo"), at("link"))
    writeFileSync(at("file"), "text")
    symlinkSync(at("loop"), at("loop"))
    const refused = async (path: string) => {
      ;(ways as { [how: string]: unknown })["file"] = ({ fileDigest }: Stage.IdentityContext) => fileDigest(path)
      return (await planned("file")).message
    }
    assert.match(await refused(at("fifo")), /fifo is a FIFO \(a named pipe\), not a file$/)
    assert.match(await refused(at("link")), /link is a FIFO/)
    assert.match(await refused(at("directory")), /is a directory, not a file$/)
    assert.match(await refused("/dev/zero"), /is a device, not a file$/)
    assert.match(await refused(at("missing")), /there is no such file$/)
    assert.match(await refused(join(at("file"), "below")), /file\/below: /)
    assert.match(await refused(at("loop")), /ELOOP/)
  })
})

describe("items of a chunk set whose stage has an identity", () => {
  const Set = Artifact.chunkSet("set", { description: "a set", metadata: Schema.Struct({}) })
  const familyOf = (identity: string, names: ReadonlyArray<"path">) => {
    const stage = Stage.make("set", {
      inputs: {},
      parameters: Schema.Struct({ path: Schema.String }),
      outputs: { set: Set },
      items: { parameters: names },
      identity: () => Effect.succeed(identity),
      run: () => Effect.void
    })
    const plan = Pipeline.evaluate(
      Pipeline.make(
        "set",
        { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
        () => stage({ path: "in.txt" })
      )
    )
    const resolver = new Resolver({
      plan,
      codeOf: () => ({ digest: sha256(""), detail: "" }),
      identityOf: () => JSON.stringify(identity),
      engine: "none",
      lookup: () => new Map(),
      generation: 0,
      snapshot: undefined
    })
    return resolver.families(plan.nodes[0]!, resolver.components(plan.nodes[0]!)!).get("set")
  }

  it("are taken over only where the parameters that they depend on stand for the same", () => {
    assert.notStrictEqual(familyOf("one", ["path"]), familyOf("two", ["path"]))
    assert.strictEqual(familyOf("one", ["path"]), familyOf("one", ["path"]))
    assert.strictEqual(familyOf("one", []), familyOf("two", []))
  })
})

describe("an identity that never settles", () => {
  it("is given up while other work keeps the program alive, and named", async () => {
    const plan = Pipeline.evaluate(
      Pipeline.make(
        "wrong",
        { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
        () => wrong({ name: "one", how: "never" })
      )
    )
    const evaluate = Identities.make({
      database: undefined,
      writable: false,
      store: Store.make({ root: "/nowhere", disk: nodeDisk }),
      memory: { get: () => undefined, set: () => undefined },
      identityOf: node => node.stage.identity!,
      refresh: false,
      patienceMs: 20
    })
    const error = await Effect.runPromise(Effect.flip(evaluate(plan.nodes[0]!)))
    assert.match(error.message, /the identity of stage wrong did not end within 1 s/)
    assert.strictEqual(error.class, "permanent")
  })
})
