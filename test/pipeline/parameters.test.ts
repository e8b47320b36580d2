import { Effect, Schema } from "effect"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { decodeConfig } from "../../src/config/configFile.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { configError, lines, rendered } from "../support/configErrors.ts"
import { Optimizer, planOf, tokenize, Tokens, train } from "../support/stages.ts"

type TrainArguments = Omit<Parameters<typeof train>[0], "tokens">

const one = (parameters: object, ...set: ReadonlyArray<string>) =>
  planOf(() => train({ tokens: tokenize({}), ...(parameters as TrainArguments) }), set.map(parseOverride))

const parametersOf = (parameters: object, ...set: ReadonlyArray<string>) => one(parameters, ...set).nodes[1]!.parameters

const firstLine = (call: () => unknown) => configError(call).message.split("\n")[0]

describe("parameters of a call", () => {
  it("defaults are filled in, and are part of the text that enters the key", () => {
    const node = one({ lr: 0.5, optimizer: { type: "sgd" } }).nodes[1]!
    assert.deepStrictEqual(node.parameters, { lr: 0.5, steps: 100, optimizer: { type: "sgd", beta: 0.9 } })
    assert.strictEqual(node.parametersText, '{"lr":0.5,"optimizer":{"beta":0.9,"type":"sgd"},"steps":100}')
  })

  it("a default that is written out gives the same text", () => {
    const text = (parameters: object) => one(parameters).nodes[1]!.parametersText
    assert.strictEqual(text({ lr: 1 }), text({ steps: 100, lr: 1 }))
    assert.notStrictEqual(text({ lr: 1 }), text({ lr: 1, steps: 101 }))
  })

  it("an unknown parameter is an error that proposes the nearest", () => {
    const error = configError(() => one({ lr: 1, step: 5 }))
    assert.match(error.message, /^train\.step is not known/)
    assert.strictEqual(error.advice, "did you mean steps?")
    assert.strictEqual(
      configError(() => one({ lr: 1, zebra: 5 })).advice,
      "known here: lr, steps, layers, optimizer, weights"
    )
  })

  it("a wrong type, a value out of range and a missing parameter say what was expected", () => {
    assert.strictEqual(
      firstLine(() => one({ lr: "fast" })),
      'train.lr must be a number greater than 0, got "fast"'
    )
    assert.strictEqual(
      firstLine(() => one({ lr: 1, steps: 5000 })),
      "train.steps must be an integer between 1 and 1000, got 5000"
    )
    assert.strictEqual(
      firstLine(() => one({})),
      "train.lr is missing; it must be a number greater than 0"
    )
    assert.strictEqual(
      firstLine(() => one({ lr: NaN })),
      "train.lr must be a number greater than 0, got NaN"
    )
  })

  it("all problems of a call are in one error, each with its place", () => {
    const error = configError(() => one({ lr: 0, step: 1, layers: [1, "x"] }))
    assert.match(
      error.message,
      /train\.step is not known[^]*train\.lr must be[^]*train\.layers\[1\] must be an integer/
    )
  })

  it("a number that JSON cannot hold has no key", () => {
    assert.match(
      firstLine(() => one({ lr: 1, weights: { a: Infinity } }))!,
      /^the parameters of train have no key: weights\.a: Infinity is not a finite number/
    )
  })

  it("a stage's label is the name of the call in messages", () => {
    const message = firstLine(() => planOf(() => train({ name: "with_align", tokens: tokenize({}), lr: -1 })))
    assert.strictEqual(message, "train/with_align.lr must be a number greater than 0, got -1")
  })

  it("the place is the call in the pipeline's file", () => {
    const file = "test/pipeline/fixtures/wrongParameters.ts"
    const output = execFileSync(process.execPath, [join(import.meta.dirname, "../..", file)], {
      encoding: "utf8",
      cwd: join(import.meta.dirname, "../..")
    })
    const source = readFileSync(join(import.meta.dirname, "../..", file), "utf8").split("\n")
    const expected = ["// wrong value", "// missing"].map(marker => {
      const line = source.findIndex(text => text.endsWith(marker))
      return `${file}:${line + 1}:${source[line]!.indexOf("train(") + 1}`
    })
    assert.deepStrictEqual(JSON.parse(output), expected)
  })
})

describe("parameters from a configuration file", () => {
  const Config = Schema.Struct({ train: Schema.Record(Schema.String, Schema.Unknown), optimizer: Schema.Unknown })
  const config = decodeConfig(
    Config,
    lines("train:", "  layers: [1, 2, x]", "optimizer: &o", "  type: adam", "  bta: .5"),
    "configs/a.yaml"
  )

  it("errors point into the file, with the line", () => {
    assert.strictEqual(
      rendered(() => one({ lr: 1, layers: config.train["layers"], optimizer: config.optimizer })),
      lines(
        'configs/a.yaml:2:18: train.layers[2] must be an integer, got "x"',
        "  2 |   layers: [1, 2, x]",
        "    |                  ^",
        "configs/a.yaml:5:3: train.optimizer.bta is not known",
        "  5 |   bta: .5",
        "    |   ^",
        "  did you mean beta?",
        'configs/a.yaml:4:9: train.optimizer.type must be "adamw" or "sgd", got "adam"',
        "  4 |   type: adam",
        "    |         ^",
        "  did you mean adamw?"
      )
    )
  })

  it("objects that a schema decoded point into the file, too", () => {
    const decoded = decodeConfig(
      Schema.Struct({ optimizer: Schema.Struct({ type: Schema.String }) }),
      "optimizer:\n  type: adam",
      "b.yaml"
    )
    assert.strictEqual(configError(() => one({ lr: 1, optimizer: decoded.optimizer })).at, "b.yaml:2:9")
  })
})

describe("parameters set on the command line", () => {
  it("replace the pipeline's, before defaults and checks", () => {
    assert.deepStrictEqual(parametersOf({ lr: 1 }, "train.lr=1e-4", "train.steps=5"), { lr: 1e-4, steps: 5 })
    assert.deepStrictEqual(parametersOf({}, "train.lr=1e-4"), { lr: 1e-4, steps: 100 })
  })

  it("reach into mappings and lists, and leave the rest", () => {
    assert.deepStrictEqual(
      parametersOf(
        { lr: 1, layers: [1, 2, 3], optimizer: { type: "sgd" } },
        "train.optimizer.beta=.5",
        "train.layers.1=7"
      ),
      { lr: 1, steps: 100, layers: [1, 7, 3], optimizer: { type: "sgd", beta: 0.5 } }
    )
    assert.deepStrictEqual(parametersOf({ lr: 1 }, "train.weights.a=1"), { lr: 1, steps: 100, weights: { a: 1 } })
  })

  it("do not change the objects that the pipeline gave", () => {
    const optimizer: typeof Optimizer.Encoded = Object.freeze({ type: "sgd" })
    one({ lr: 1, optimizer }, "train.optimizer.beta=.5")
    assert.deepStrictEqual(optimizer, { type: "sgd" })
  })

  it("the last of several for one parameter stands, and is the one that errors show", () => {
    assert.deepStrictEqual(parametersOf({}, "train.lr=1", "train.lr=2"), { lr: 2, steps: 100 })
    assert.include(
      rendered(() => one({}, "train.lr=x", "train.lr=y")),
      "--set train.lr=y"
    )
  })

  it("a stage's name means all its uses, a label one", () => {
    const rates = (...set: ReadonlyArray<string>) =>
      planOf(() => {
        const tokens = tokenize({})
        return [train({ name: "a", tokens, lr: 1 }), train({ name: "b", tokens, lr: 1 })]
      }, set.map(parseOverride))
        .nodes.slice(1)
        .map(node => (node.parameters as { readonly lr: number }).lr)
    assert.deepStrictEqual(rates("train.lr=2"), [2, 2])
    assert.deepStrictEqual(rates("train/b.lr=2"), [1, 2])
    assert.deepStrictEqual(rates("train.lr=2", "train/a.lr=3"), [3, 2])
  })

  it("a label may contain dots", () => {
    const plan = planOf(
      () => train({ name: "qwen3.6", tokens: tokenize({}), lr: 1, optimizer: { type: "sgd" } }),
      ["train/qwen3.6.lr=2", "train/qwen3.6.optimizer.beta=.5"].map(parseOverride)
    )
    assert.deepInclude(plan.nodes[1]!.parameters as object, { lr: 2, optimizer: { type: "sgd", beta: 0.5 } })
  })

  it("a wrong value is shown in the option, with an example", () => {
    assert.strictEqual(
      rendered(() => one({ lr: 1 }, "train.lr=fast")),
      lines(
        '--set: train.lr must be a number greater than 0, got "fast"',
        "  --set train.lr=fast",
        "                 ^ for example --set train.lr=1e-4"
      )
    )
  })

  it("beside values of a file, both are named", () => {
    const { optimizer } = decodeConfig(
      Schema.Struct({ optimizer: Optimizer }),
      "optimizer: {type: sgd}",
      "configs/a.yaml"
    )
    assert.strictEqual(
      rendered(() => one({ lr: 1, optimizer }, "train.optimizer.type=adam")),
      lines(
        'configs/a.yaml and --set: train.optimizer.type must be "adamw" or "sgd", got "adam"',
        "  --set train.optimizer.type=adam",
        "                             ^ did you mean adamw?"
      )
    )
  })

  it("an unknown parameter has the caret below its name", () => {
    assert.strictEqual(
      rendered(() => one({ lr: 1, optimizer: { type: "sgd" } }, "train.optimizer.bta=1")),
      lines(
        "--set: train.optimizer.bta is not known",
        "  --set train.optimizer.bta=1",
        "                        ^ did you mean beta?"
      )
    )
    assert.include(
      rendered(() => one({ lr: 1 }, "train.optim.bta=1")),
      lines("  --set train.optim.bta=1", "              ^ did you mean optimizer?")
    )
  })

  it("a path through something that is no mapping has the caret below what it is", () => {
    assert.strictEqual(
      rendered(() => one({ lr: 1 }, "train.lr.base=1")),
      lines(
        'train.lr must be a number greater than 0, got {"base":1}',
        "  --set train.lr.base=1",
        "              ^"
      ).replace(/^/, "--set: ")
    )
  })

  it("a problem inside a value has the caret at the value", () => {
    assert.include(
      rendered(() => one({ lr: 1 }, "train.optimizer={type: sgd, bta: 1}")),
      lines("  --set train.optimizer={type: sgd, bta: 1}", "                        ^ did you mean beta?")
    )
  })

  it("an input cannot be set", () => {
    assert.include(
      rendered(() => one({ lr: 1 }, "train.tokens=x")),
      "^ it is an input: the pipeline wires it"
    )
  })

  it("what the command line did not touch is reported where it is", () => {
    const error = configError(() => one({ lr: -1 }, "train.steps=5"))
    assert.notInclude(error.message, "--set")
    assert.match(error.at!, /parameters\.test\.ts:\d+:\d+$/)
  })

  it("a problem of all parameters together is not blamed on one option", () => {
    const error = configError(() => one({ lr: 1, weights: { a: Infinity } }, "train.steps=5"))
    assert.match(error.at!, /parameters\.test\.ts:\d+:\d+$/)
  })

  it("one that no stage takes is an error", () => {
    assert.match(
      rendered(() => one({ lr: 1 }, "trian.lr=5")),
      /^--set trian\.lr=5: pipeline test has no stage trian/
    )
  })
})

it("a stage without parameters refuses every one", () => {
  const message = (given: object) => {
    try {
      planOf(() => tokenize(given as never))
    } catch (error) {
      return (error as Error).message
    }
    return "accepted"
  }
  assert.match(message({ x: 1 }), /tokenize\.x is not known/)
  assert.strictEqual(message({}), "accepted")
  assert.strictEqual(message({ name: "a" }), "accepted")
})

describe("what an action's process decodes", () => {
  const loose = Stage.make("loose", {
    inputs: {},
    parameters: Schema.Struct({ n: Schema.Unknown }),
    outputs: { tokens: Tokens },
    run: () => Effect.void
  })

  it("is what was planned: parameters whose text does not decode are refused before anything runs", () => {
    assert.match(
      configError(() => planOf(() => loose({ n: undefined }))).message,
      /the parameters of loose have no key/
    )
    const { parameters, parametersText } = planOf(() => loose({ n: { a: undefined, b: -0 } })).nodes[0]!
    assert.deepStrictEqual(parameters, JSON.parse(parametersText))
  })
})
