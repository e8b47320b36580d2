/** Small kinds and stages for tests of plans. */
import { Effect, Schema } from "effect"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import type { Plan } from "../../src/pipeline/Plan.ts"
import type { Override } from "../../src/pipeline/PlanBuilder.ts"
import * as Stage from "../../src/pipeline/Stage.ts"

export const Tokens = Artifact.kind("tokens", {
  description: "token ids",
  metadata: Schema.Struct({ count: Schema.Int })
})
export const Anchors = Artifact.kind("anchors", { description: "hidden states", metadata: Schema.Struct({}) })
export const Weights = Artifact.kind("weights", { description: "model weights", metadata: Schema.Struct({}) })

const NoParameters = Schema.Struct({})

export const tokenize = Stage.make("tokenize", {
  inputs: {},
  parameters: NoParameters,
  outputs: { tokens: Tokens },
  run: () => Effect.void
})

export const anchor = Stage.make("anchor", {
  inputs: { tokens: Tokens },
  parameters: NoParameters,
  outputs: { anchors: Anchors },
  run: () => Effect.void
})

export const Optimizer = Schema.Struct({
  type: Schema.Literals(["adamw", "sgd"]),
  beta: Schema.Finite.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0.9)))
})

export const train = Stage.make("train", {
  inputs: { tokens: Tokens, anchors: Artifact.optional(Anchors) },
  parameters: Schema.Struct({
    lr: Schema.Finite.check(Schema.isGreaterThan(0)),
    steps: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(100))
    ),
    layers: Schema.optionalKey(Schema.Array(Schema.Int)),
    optimizer: Schema.optionalKey(Optimizer),
    weights: Schema.optionalKey(Schema.Record(Schema.String, Schema.Number))
  }),
  outputs: { weights: Weights },
  run: () => Effect.void
})

export const split = Stage.make("split", {
  inputs: { tokens: Tokens },
  parameters: NoParameters,
  outputs: { train: Tokens, heldOut: Tokens },
  run: () => Effect.void
})

export const average = Stage.make("average", {
  inputs: { weights: Artifact.many(Weights) },
  parameters: NoParameters,
  outputs: { weights: Weights },
  run: () => Effect.void
})

export const report = Stage.make("report", {
  inputs: { rows: Artifact.named(Weights) },
  parameters: NoParameters,
  outputs: { summary: Tokens },
  run: () => Effect.void
})

/** The plan that `build` makes, under a profile without content. */
export const planOf = (build: () => Pipeline.Targets, overrides: ReadonlyArray<Override> = []): Plan =>
  Pipeline.evaluate(
    Pipeline.make(
      "test",
      { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
      build
    ),
    { overrides }
  )
