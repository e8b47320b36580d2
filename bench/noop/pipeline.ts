/** The pipeline of the no-op comparison: N stages that copy one small text, as a fan from one file or as a chain. */
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"

const Text = Artifact.kind("text", { description: "One small text.", metadata: Schema.Struct({}) })

/** Reads the file that everything depends on; keyed by its content. */
export const read = Stage.make("read", {
  inputs: {},
  parameters: Schema.Struct({ path: Schema.String }),
  outputs: { text: Text },
  process: "shared",
  identity: ({ path }, { fileDigest }) => Effect.map(fileDigest(path), ({ sha256 }) => ({ sha256 })),
  run: Effect.fn("read")(function* ({ outputs, parameters }) {
    const { readFileSync } = yield* Effect.promise(() => import("node:fs"))
    yield* outputs.text.write("text", readFileSync(parameters.path))
    yield* outputs.text.metadata({})
  })
})

export const copy = Stage.make("copy", {
  inputs: { text: Text },
  parameters: Schema.Struct({ index: Schema.Int }),
  outputs: { text: Text },
  process: "shared",
  run: Effect.fn("copy")(function* ({ inputs, outputs }) {
    yield* outputs.text.write("text", yield* inputs.text.bytes("text"))
    yield* outputs.text.metadata({})
  })
})

const shape = process.env["NOOP_SHAPE"] ?? "fan"
const count = Number(process.env["NOOP_COUNT"] ?? "1000")

export default Pipeline.make(
  "noop",
  { description: "Trivial stages.", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
  () => {
    const source = read({ path: "in.txt" })
    let last = source
    for (let index = 0; index < count; index++) {
      last = copy({ name: String(index), text: shape === "chain" ? last : source, index })
    }
    return last
  }
)
