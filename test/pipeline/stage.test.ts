import { Effect, Schema } from "effect"
import { assert, describe, it } from "vitest"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import { ConfigError } from "../../src/pipeline/ConfigError.ts"
import * as Stage from "../../src/pipeline/Stage.ts"

const Text = Artifact.kind("text", { description: "a text", metadata: Schema.Struct({}) })
const complete = { inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text }, run: () => Effect.void }

const refused = (name: string, options: object): ConfigError => {
  try {
    Stage.make(name, options as typeof complete)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error("it was accepted")
}

describe("a stage that is declared without a type check", () => {
  it("is refused when a part is missing, with the place and what to write", () => {
    for (const part of ["inputs", "parameters", "outputs", "run"]) {
      const { message, at } = refused("cut", { ...complete, [part]: undefined })
      assert.strictEqual(message, `stage cut has no ${part}`)
      assert.match(at ?? "", /stage\.test\.ts:\d+:\d+$/)
    }
    assert.strictEqual(
      refused("cut", { ...complete, inputs: undefined }).advice,
      "where there are none, write inputs: {}"
    )
  })

  it("is refused without outputs, and with a name that cannot be one", () => {
    assert.match(refused("cut", { ...complete, outputs: {} }).message, /has no output/)
    for (const name of ["", "A", "a b", "a/b", "1a", "a_b"])
      assert.match(refused(name, complete).message, /^a stage's name/)
  })

  it("is refused with a name or a port's name that could not be part of a file's name", () => {
    assert.match(refused("x".repeat(250), complete).message, /^a stage's name has at most 100 characters, got 250/)
    for (const port of ["a/b", "..", "", "a.b", "x".repeat(250)])
      assert.match(
        refused("cut", { ...complete, outputs: { [port]: Text } }).message,
        /^the name of an output of stage cut/
      )
    assert.match(refused("cut", { ...complete, inputs: { name: Text } }).message, /an input called name/)
  })

  it("is refused when it asks for what cannot be had: part of a processor, less than nothing, without end", () => {
    for (const kind of ["cpus", "gpus", "memoryMiB"])
      for (const value of [0.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "2", null, [1]])
        assert.match(
          refused("cut", { ...complete, resources: { [kind]: value } }).message,
          new RegExp(`^${kind} of stage cut must be an integer of at least [01], got `)
        )
    assert.match(refused("cut", { ...complete, resources: { memoryMiB: 0 } }).message, /at least 1, got 0/)
    assert.match(refused("cut", { ...complete, resources: { cpus: 0.5 } }).advice ?? "", /held whole/)
    assert.match(refused("cut", { ...complete, resources: 2 }).message, /must be a record/)
    assert.strictEqual(refused("cut", { ...complete, resources: { cpu: 1 } }).advice, "did you mean cpus?")
  })

  it("is refused with retries, a timeout or a process that mean nothing", () => {
    for (const value of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "3"])
      assert.match(
        refused("cut", { ...complete, retries: { crashed: value } }).message,
        /^retries\.crashed of stage cut/
      )
    assert.match(refused("cut", { ...complete, retries: { network: 3 } }).message, /network, which is not known/)
    assert.match(refused("cut", { ...complete, retries: 3 }).message, /must be a record/)
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "60", 10n])
      assert.match(
        refused("cut", { ...complete, timeout: value }).message,
        /^timeout of stage cut must be a finite number/
      )
    assert.match(refused("cut", { ...complete, process: "forked" }).message, /"own" or "shared", got "forked"/)
    assert.match(
      refused("cut", { ...complete, executesCode: "yes" }).message,
      /executesCode of stage cut must be true or false, got "yes"/
    )
  })

  it("is refused with an option that is not known, and with what must be a function and is none", () => {
    assert.strictEqual(refused("cut", { ...complete, resource: {} }).advice, "did you mean resources?")
    assert.match(
      refused("cut", { ...complete, identity: { sha256: "x" } }).message,
      /identity of stage cut must be a function/
    )
    assert.match(
      refused("cut", { ...complete, items: { inputs: ["tokens"] } }).message,
      /input tokens, which it does not have/
    )
  })

  it("is accepted with all that can be", () => {
    Stage.make("cut", {
      ...complete,
      resources: { cpus: Stage.allProcessors, gpus: 0, memoryMiB: 1 },
      retries: { transient: 0, crashed: 5 },
      timeout: 0.5,
      process: "shared"
    })
  })

  it("is accepted when it is complete", () => {
    assert.isTrue(Stage.isStage(Stage.make("cut", complete)))
  })
})
