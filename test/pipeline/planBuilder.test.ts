import { Effect, Schema } from "effect"
import { assert, describe, it } from "vitest"
import type { Ref } from "../../src/pipeline/Artifact.ts"
import type * as Pipeline from "../../src/pipeline/Pipeline.ts"
import type { Override } from "../../src/pipeline/PlanBuilder.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { configError } from "../support/configErrors.ts"
import { anchor, type Anchors, average, planOf, report, split, tokenize, Tokens, train } from "../support/stages.ts"

/** The first line of the error that a wrong call gives; `as never` stands for wiring that the compiler would refuse. */
const wrong = (build: () => Pipeline.Targets) => configError(() => planOf(build)).message.split("\n")[0]

describe("a plan", () => {
  it("lists the calls in order, each wired to earlier ones", () => {
    const plan = planOf(() => {
      const tokens = tokenize({})
      const anchors = anchor({ tokens })
      return { student: train({ tokens, anchors, lr: 1 }), plain: train({ name: "plain", tokens, lr: 1 }) }
    })
    assert.deepStrictEqual(
      plan.nodes.map(node => node.label),
      ["tokenize", "anchor", "train", "train/plain"]
    )
    assert.deepStrictEqual(plan.nodes[2]!.wires, [
      { port: "tokens", name: undefined, node: 0, output: "tokens" },
      { port: "anchors", name: undefined, node: 1, output: "anchors" }
    ])
    assert.deepStrictEqual(
      plan.nodes[3]!.wires.map(wire => wire.port),
      ["tokens"]
    )
    assert.deepStrictEqual(plan.targets, [
      { name: "student", node: 2, output: "weights" },
      { name: "plain", node: 3, output: "weights" }
    ])
  })

  it("keeps the order of a list, and sorts a record by name", () => {
    const plan = planOf(() => {
      const tokens = tokenize({})
      const [a, b] = [train({ tokens, lr: 1 }), train({ tokens, lr: 2 })]
      average({ weights: [b, a, b] })
      return report({ rows: { z: a, m: b } })
    })
    assert.deepStrictEqual(
      plan.nodes[3]!.wires.map(wire => wire.node),
      [2, 1, 2]
    )
    assert.deepStrictEqual(
      plan.nodes[4]!.wires.map(({ name, node }) => [name, node]),
      [
        ["m", 2],
        ["z", 1]
      ]
    )
  })

  it("a stage with several outputs gives a record of references", () => {
    const plan = planOf(() => {
      const parts = split({ tokens: tokenize({}) })
      return [anchor({ tokens: parts.heldOut }), parts.train]
    })
    assert.strictEqual(plan.nodes[2]!.wires[0]!.output, "heldOut")
    assert.deepStrictEqual(plan.targets, [
      { name: "0", node: 2, output: "anchors" },
      { name: "1", node: 1, output: "train" }
    ])
  })

  it("repeated calls without a name are numbered, around names that are taken", () => {
    const plan = planOf(() => {
      const tokens = tokenize({})
      const call = (name?: string) => train({ tokens, lr: 1, ...(name === undefined ? {} : { name }) })
      return [call(), call(), call("4"), call(), call()]
    })
    assert.deepStrictEqual(
      plan.nodes.slice(1).map(node => node.label),
      ["train", "train/2", "train/4", "train/3", "train/5"]
    )
  })

  it("100,000 stages in a row", () => {
    const length = 100_000
    const plan = planOf(() => {
      let tokens = tokenize({})
      for (let i = 0; i < length; i++) tokens = split({ tokens }).train
      return tokens
    })
    assert.strictEqual(plan.nodes.length, length + 1)
    assert.strictEqual(plan.nodes[length]!.wires[0]!.node, length - 1)
  })
})

describe("wrong wiring", () => {
  it("an artifact of another kind", () => {
    assert.strictEqual(
      wrong(() => anchor({ tokens: anchor({ tokens: tokenize({}) }) as never })),
      "anchor/2.tokens must be an artifact of kind tokens, got anchors"
    )
  })

  it("no artifact, or something that is none", () => {
    assert.strictEqual(
      wrong(() => anchor({} as never)),
      "anchor.tokens must be an artifact of kind tokens, got nothing"
    )
    assert.strictEqual(
      wrong(() => anchor({ tokens: "x" as never })),
      'anchor.tokens must be an artifact of kind tokens, got "x"'
    )
    assert.strictEqual(
      wrong(() => anchor({ tokens: split({ tokens: tokenize({}) }) as never })),
      "anchor.tokens must be an artifact of kind tokens, got a record of artifacts"
    )
  })

  it("a list where one is taken, and one where a list is taken", () => {
    assert.strictEqual(
      wrong(() => anchor({ tokens: [tokenize({})] as never })),
      "anchor.tokens must be an artifact of kind tokens, got a list of artifacts"
    )
    assert.strictEqual(
      wrong(() => average({ weights: train({ tokens: tokenize({}), lr: 1 }) as never })),
      "average.weights must be a list of artifacts of kind weights, got an artifact of kind weights"
    )
    assert.strictEqual(
      wrong(() => average({ weights: [tokenize({})] as never })),
      "average.weights must be an artifact of kind weights, got tokens"
    )
  })

  it("something that is no record where a record is taken", () => {
    assert.strictEqual(
      wrong(() => report({ rows: null as never })),
      "report.rows must be a record of artifacts of kind weights, got null"
    )
    assert.strictEqual(
      wrong(() => report({ rows: { a: tokenize({}) as never } })),
      "report.rows.a must be an artifact of kind weights, got tokens"
    )
  })

  it("a forged reference to a later stage would be a cycle", () => {
    const forged = (node: number) =>
      wrong(() => {
        const tokens = tokenize({})
        return anchor({ tokens: { ...tokens, node } })
      })
    for (const node of [1, 2, 1e9, -1, NaN, Infinity]) {
      assert.match(
        forged(node)!,
        /^anchor\.tokens refers to a stage that is not made yet: the graph would have a cycle/
      )
    }
  })

  it("a reference of another pipeline", () => {
    let foreign: Ref<typeof Anchors> | undefined
    planOf(() => (foreign = anchor({ tokens: tokenize({}) })))
    const message = wrong(() => train({ tokens: tokenize({}), anchors: foreign, lr: 1 }))
    assert.strictEqual(message, "train.anchors belongs to another pipeline")
  })

  it("a stage outside a pipeline", () => {
    assert.strictEqual(configError(() => tokenize({})).message, "stage tokenize was called outside a pipeline")
  })

  it("after an error the next pipeline starts anew", () => {
    wrong(() => anchor({} as never))
    assert.strictEqual(configError(() => tokenize({})).message, "stage tokenize was called outside a pipeline")
    assert.strictEqual(planOf(() => tokenize({})).nodes.length, 1)
  })

  it("two calls of one name, and names that are none", () => {
    const named = (...names: ReadonlyArray<string>) => wrong(() => names.map(name => tokenize({ name })))
    assert.strictEqual(named("a", "a"), "two stages are named tokenize/a")
    for (const name of ["", "a b", "a/b", "../a", ".a", "a\n", "ä"])
      assert.match(named(name)!, /^the name of a tokenize stage consists of/)
  })
})

describe("what a pipeline returns is refused:", () => {
  it("a reference of another pipeline, or to what does not exist", () => {
    let foreign: Ref<typeof Anchors> | undefined
    planOf(() => (foreign = anchor({ tokens: tokenize({}) })))
    assert.strictEqual(
      wrong(() => foreign!),
      "what the pipeline returned belongs to another pipeline"
    )
    const forged = (change: object) => wrong(() => ({ rows: [{ ...tokenize({}), ...change } as never] }))
    assert.match(forged({ node: 7 })!, /^what the pipeline returned as rows\.0 refers to a stage that is not made yet/)
    assert.match(forged({ output: "nothing" })!, /refers to output nothing, which tokenize does not have$/)
  })

  it("two artifacts of one name", () => {
    const message = wrong(() => ({ a: { b: tokenize({}) }, "a.b": tokenize({ name: "x" }) }))
    assert.strictEqual(message, "the pipeline returned two artifacts as a.b")
  })
})

it("a cyclic return value is walked once", () => {
  const plan = planOf(() => {
    const rows: Record<string, unknown> = { tokens: tokenize({}) }
    rows["again"] = rows
    return rows as never
  })
  assert.deepStrictEqual(
    plan.targets.map(({ name }) => name),
    ["tokens"]
  )
})

describe("the settings of a call, asked for before it", () => {
  const lr = (target: string, value: number): Override => ({
    target,
    path: ["lr"],
    value,
    text: `${target}.lr=${value}`
  })

  it("are those that the call gets: decoded, with what was set for all, for it alone, or for its number", () => {
    const found: Array<unknown> = []
    const plan = planOf(() => {
      const tokens = tokenize({})
      const call = (args: { readonly name?: string; readonly lr: number }) => {
        // Asked twice, it is the same call still.
        found.push(train.settings(args), train.settings(args))
        return train({ ...args, tokens })
      }
      return [call({ lr: 1 }), call({ lr: 1 }), call({ name: "4", lr: 1 }), call({ lr: 1 })]
    }, [lr("train", 2), lr("train/2", 3), lr("train/4", 5)])
    assert.deepStrictEqual(
      found,
      plan.nodes.slice(1).flatMap(({ parameters }) => [parameters, parameters])
    )
    assert.deepStrictEqual(
      plan.nodes.slice(1).map(({ parameters }) => (parameters as { lr: number }).lr),
      [2, 3, 5, 2]
    )
  })

  it("are refused as the call is, with the place", () => {
    const refused = configError(() => planOf(() => ({ lr: train.settings({ lr: "much" as never }).lr })))
    assert.match(refused.message, /train\.lr must be/)
    assert.throws(() => train.settings({ lr: 1 }), /outside a pipeline/)
  })

  it("use up no override: what no call takes is an error still", () => {
    const set = () =>
      planOf(() => {
        train.settings({ lr: 1 })
        return tokenize({})
      }, [lr("train", 2)])
    assert.match(configError(set).message, /has no stage train/)
  })
})

describe("a call of a stage", () => {
  const greedy = (resources: (parameters: { readonly n: number }) => object) =>
    Stage.make("greedy", {
      inputs: {},
      parameters: Schema.Struct({ n: Schema.Finite }),
      outputs: { tokens: Tokens },
      resources,
      run: () => Effect.void
    })

  it("is refused when its parameters make it ask for what cannot be had, or its function throws", () => {
    const half = greedy(({ n }) => ({ cpus: n }))
    const message = (n: number) => configError(() => planOf(() => half({ name: "some", n }))).message
    assert.match(message(0.5), /^greedy\/some: its resources cannot be told: cpus of stage greedy must be an integer/)
    assert.match(message(-1), /got -1/)
    assert.doesNotThrow(() => planOf(() => half({ n: 2 })))
    const thrown = greedy(() => {
      throw new Error("no idea")
    })
    assert.match(configError(() => planOf(() => thrown({ n: 1 }))).message, /^greedy: .*no idea/)
    const promised = greedy(async () => ({ cpus: 1 }))
    assert.match(configError(() => planOf(() => promised({ n: 1 }))).message, /must be a record .*, got a promise/)
  })

  it("is refused with a name too long for a file's name", () => {
    const message = wrong(() => train({ name: "x".repeat(250), tokens: tokenize({}), lr: 1 }))
    assert.match(message!, /the name of a train stage has at most 100 characters, got 250/)
  })
})
