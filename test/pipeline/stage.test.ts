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

  it("is accepted when it is complete", () => {
    assert.isTrue(Stage.isStage(Stage.make("cut", complete)))
  })
})
