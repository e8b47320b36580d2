/** The stages and plans of the simulation: random graphs of five kinds of stage whose outputs depend on their inputs only. */
import { Effect, Schema, Stream } from "effect"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import type { Ref } from "../../src/pipeline/Artifact.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import type { Plan } from "../../src/pipeline/Plan.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { below } from "../support/random.ts"

const Text = Artifact.kind("text", { description: "Lines.", metadata: Schema.Struct({ lines: Schema.Int }) })
const Items = Artifact.chunkSet("items", { description: "Numbers.", metadata: Schema.Struct({}) })

/** What stages take from the simulated world. */
export const world: { pauseMs: () => number; nonce: () => number; version: (stage: string) => string } = {
  pauseMs: () => 0,
  nonce: () => 0,
  version: () => ""
}

const pause = Effect.suspend(() => Effect.sleep(world.pauseMs()))

const Numbered = Schema.Struct({ n: Schema.Int })
const Noisy = Schema.Struct({
  n: Schema.Int,
  /** The result differs from execution to execution. */
  noise: Schema.Boolean
})

export const source = Stage.make("source", {
  inputs: {},
  parameters: Noisy,
  outputs: { text: Text },
  run: Effect.fn("source")(function* ({ outputs, parameters }) {
    yield* pause
    yield* outputs.text.write(
      "a",
      `source${world.version("source")} ${parameters.n} ${parameters.noise ? world.nonce() : ""}`
    )
    // Shared by all of them: the object exists already when the second one publishes it.
    yield* outputs.text.write("common/header", "the same everywhere")
    yield* outputs.text.metadata({ lines: 1 })
  })
})

export const mix = Stage.make("mix", {
  inputs: { texts: Artifact.many(Text) },
  parameters: Noisy,
  outputs: { text: Text },
  timeout: 60,
  resources: ({ n }) => ({ cpus: 1 + (n % 3) }),
  run: Effect.fn("mix")(function* ({ inputs, outputs, parameters, progress }) {
    const read: Array<string> = []
    for (const [i, text] of inputs.texts.entries()) {
      read.push(yield* text.text("a"))
      yield* progress({ done: i + 1, total: inputs.texts.length })
    }
    yield* pause
    yield* outputs.text.write(
      "a",
      `mix${world.version("mix")} ${parameters.n} ${parameters.noise ? world.nonce() : ""}\n${read.join("\n")}`
    )
    yield* outputs.text.metadata({ lines: read.length })
  })
})

export const pair = Stage.make("pair", {
  inputs: { texts: Artifact.many(Text) },
  parameters: Numbered,
  outputs: { left: Text, right: Text },
  run: Effect.fn("pair")(function* ({ inputs, metric, outputs, parameters }) {
    const read = yield* Effect.forEach(inputs.texts, text => text.text("a"))
    yield* outputs.left.write("a", `left ${parameters.n}`)
    yield* pause
    // The text of only one side depends on the inputs: the other cuts off what lies below.
    yield* outputs.right.write("a", `right${world.version("pair")} ${parameters.n}\n${read.join("\n")}`)
    yield* outputs.left.metadata({ lines: 1 })
    yield* outputs.right.metadata({ lines: read.length })
    yield* metric("inputs", read.length)
  })
})

export const split = Stage.make("split", {
  inputs: { texts: Artifact.many(Text) },
  parameters: Numbered,
  outputs: { items: Items },
  items: { parameters: [] },
  run: Effect.fn("split")(function* ({ inputs, outputs, parameters }) {
    const order: Array<ReturnType<typeof outputs.items.key>> = []
    const count = 2 + (parameters.n % 4) + inputs.texts.length
    for (let i = 0; i < count; i++) {
      const key = outputs.items.key(`item ${i}`)
      if (!outputs.items.has(key)) {
        yield* pause
        // Every third one is too large for a page.
        yield* outputs.items.put(
          key,
          Buffer.alloc(i % 3 === 2 ? 5000 + i : 10 + i, `item${world.version("split")} ${i} `)
        )
      }
      order.push(key)
    }
    yield* outputs.items.finish(order, {})
  })
})

export const fold = Stage.make("fold", {
  inputs: { items: Items },
  parameters: Numbered,
  outputs: { text: Text },
  run: Effect.fn("fold")(function* ({ inputs, outputs, parameters }) {
    const sizes = yield* inputs.items.items.pipe(
      Stream.mapEffect(item => Effect.map(item.bytes, bytes => bytes.length)),
      Stream.runCollect
    )
    yield* outputs.text.write("a", `fold${world.version("fold")} ${parameters.n} ${sizes.join(" ")}`)
    yield* outputs.text.metadata({ lines: 1 })
  })
})

/** One node of a graph before it is a plan; texts are numbered in the order in which nodes return them. */
export interface Part {
  readonly stage: "source" | "mix" | "pair" | "fold"
  readonly n: number
  readonly noise: boolean
  readonly texts: ReadonlyArray<number>
}

/** A part in short, for plans that are written out. */
export const part = (stage: Part["stage"], n: number, texts: ReadonlyArray<number> = [], noise = false): Part => ({
  stage,
  n,
  noise,
  texts
})

/** Few numbers, so that nodes with equal keys occur. */
const numbers = 6

export const randomParts = (random: () => number): ReadonlyArray<Part> => {
  const parts: Array<Part> = []
  const noisy = random() < 0.3
  let texts = 0
  for (let i = 3 + below(random, 13); i > 0; i--) {
    const kind = texts === 0 ? 0 : random()
    const inputs = Array.from({ length: 1 + below(random, 3) }, () => below(random, Math.max(1, texts)))
    parts.push({
      stage: kind < 0.2 ? "source" : kind < 0.65 ? "mix" : kind < 0.8 ? "pair" : "fold",
      n: below(random, numbers),
      noise: noisy && random() < 0.3,
      texts: kind === 0 ? [] : inputs
    })
    texts += parts.at(-1)!.stage === "pair" ? 2 : 1
  }
  return parts
}

/** A plan of parts; `wanted` of its texts are what the pipeline returns. */
export const planOf = (name: string, parts: ReadonlyArray<Part>, wanted: number): Plan =>
  Pipeline.evaluate(
    Pipeline.make(
      name,
      { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
      () => {
        const texts: Array<Ref<typeof Text>> = []
        for (const { n, noise, stage, texts: chosen } of parts) {
          const inputs = chosen.map(i => texts[i]!)
          switch (stage) {
            case "source":
              texts.push(source({ n, noise }))
              break
            case "mix":
              texts.push(mix({ n, noise, texts: inputs }))
              break
            case "pair": {
              const { left, right } = pair({ n, texts: inputs })
              texts.push(left, right)
              break
            }
            case "fold":
              texts.push(fold({ n, items: split({ n, texts: inputs }) }))
          }
        }
        return texts.slice(-wanted)
      }
    )
  )

/** Nodes whose results are the same in every execution. */
export const steadyNodes = (plan: Plan): ReadonlyArray<boolean> => {
  const steady: Array<boolean> = []
  for (const node of plan.nodes)
    steady.push((node.parameters as { noise?: boolean }).noise !== true && node.wires.every(wire => steady[wire.node]!))
  return steady
}
