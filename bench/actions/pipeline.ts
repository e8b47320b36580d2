/** Many trivial actions: each writes one small text. `ACTIONS_COUNT` says how many. */
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"

const Text = Artifact.kind("text", { description: "A text", metadata: Schema.Struct({}) })

export const say = Stage.make("say", {
  inputs: {},
  parameters: Schema.Struct({ number: Schema.Int }),
  outputs: { text: Text },
  run: Effect.fn("say")(function* ({ outputs, parameters }) {
    yield* outputs.text.write("text.txt", String(parameters.number))
    yield* outputs.text.metadata({})
  })
})

export default Pipeline.make(
  "actions",
  { description: "Many trivial actions", profiles: { only: { description: "", needs: "nothing", make: () => 0 } } },
  () =>
    Object.fromEntries(
      Array.from({ length: Number(process.env["ACTIONS_COUNT"]) }, (_, number) => [
        `s${number}`,
        say({ name: `s${number}`, number })
      ])
    )
)
