/** Every example of help and docs is one that the program takes: its flags, its values, its pipelines, stages and parameters exist. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Option, Result } from "effect"
import { Command } from "effect/cli"
import { assert, describe, it } from "vitest"
import { type AnyCommand, answer, rootOf } from "../../src/cli/program.ts"
import { planOf } from "../../src/cli/pipelines.ts"
import { wantedPlan } from "../../src/cli/planned.ts"
import { commandFor } from "../../src/cli/verbs.ts"
import type * as flags from "../../src/cli/flags.ts"
import { pipelines } from "../../pipelines/index.ts"
import { render } from "../../src/pipeline/ConfigError.ts"
import { isMeant, type Plan } from "../../src/pipeline/Plan.ts"
import { allCommands, commandLine, commandsInHelp, shellWords } from "../support/commandLines.ts"

const root = join(import.meta.dirname, "../..")

/** What a command line gave to its verb. */
interface Taken {
  readonly verb: ReadonlyArray<string>
  readonly args: Readonly<Record<string, unknown>>
}

/** The whole program, whose verbs do nothing but say what they were given. */
const recording = async () => {
  let taken: Taken | undefined
  const whole = await Effect.runPromise(commandFor([]))
  const recorded = (command: AnyCommand, path: ReadonlyArray<string>): AnyCommand => {
    const below = command.subcommands.flatMap(({ commands }) => commands as ReadonlyArray<AnyCommand>)
    const verb = [...path, command.name]
    if (below.length > 0)
      return Command.make(command.name).pipe(
        Command.withSubcommands(below.map(each => recorded(each, verb)) as [AnyCommand])
      ) as unknown as AnyCommand
    return command.pipe(
      Command.withHandler(args => Effect.sync(() => void (taken = { verb, args: args as Taken["args"] })))
    ) as AnyCommand
  }
  const verbs = whole.subcommands.flatMap(({ commands }) => commands as ReadonlyArray<AnyCommand>)
  const program = rootOf(verbs.map(each => recorded(each, [])))
  return async (words: ReadonlyArray<string>): Promise<Taken> => {
    taken = undefined
    await Effect.runPromise(answer(program, words))
    if (taken === undefined) throw new Error("no verb was reached")
    return taken
  }
}

const take = await recording()
const inHelp = await Effect.runPromise(commandsInHelp)
const all = await Effect.runPromise(allCommands)

const shipped: ReadonlySet<string> = new Set(Object.keys(pipelines))

/** Files of a user's own, which the docs show beside the command. */
const isOwn = (name: string): boolean => name.endsWith(".ts")

/** Labels of a pipeline with all that flags add; of one that needs a file of the user's own, those that its docs name. */
const labelsOf = new Map<string, ReadonlyArray<string>>()
const labels = async (pipeline: string): Promise<ReadonlyArray<string> | undefined> => {
  if (pipeline === "convert" || pipeline === "evaluate") return undefined
  const known = labelsOf.get(pipeline)
  if (known !== undefined) return known
  const variants =
    pipeline === "compare-50x"
      ? [{ controls: true, ablations: true }]
      : pipeline === "pretrain-teacher"
        ? [{}, { family: "hybrid" as const }]
        : [{ controls: true }]
  const plans = await Promise.all(
    variants.map(variant => Effect.runPromise(planOf(pipeline, { profile: undefined, set: [], only: [], variant })))
  )
  const found = plans.flatMap((plan: Plan) => plan.nodes.map(({ label }) => label))
  labelsOf.set(pipeline, found)
  return found
}

/** References among what a verb was given: `compare-50x/train/cola`. */
const references = ({ args }: Taken): ReadonlyArray<{ readonly pipeline: string; readonly label: string }> =>
  Object.values(args)
    .flatMap(value => (Option.isOption(value) ? Option.toArray(value) : [value]).flat())
    .flatMap(value => {
      const [, pipeline, label] = (typeof value === "string" && /^([\w-]+)\/([\w/-]+)$/.exec(value)) || []
      return pipeline !== undefined && shipped.has(pipeline) ? [{ pipeline, label: label! }] : []
    })

describe("examples of help and docs", () => {
  it("are many, from both", () => {
    assert.isAbove(inHelp.length, 60)
    assert.isAbove(all.length, 150)
  })

  it("are taken to the letter, with the pipelines, stages, profiles and parameters that they name", async () => {
    const wrong: Array<string> = []
    for (const { at, fails, text, words } of all) {
      try {
        const taken = await take(words)
        for (const { label, pipeline } of references(taken)) {
          const known = await labels(pipeline)
          if (known !== undefined && !known.some(each => isMeant(each, label)))
            throw new Error(`${pipeline} has no stage ${label}`)
        }
        const [verb] = taken.verb
        const { pipeline } = taken.args
        if ((verb === "run" || verb === "plan") && typeof pipeline === "string" && !isOwn(pipeline)) {
          const args = taken.args as unknown as flags.PlanArgs
          // What a file of the user's own says is tested where that is; an error that is shown is one of these values.
          if (Option.isSome(args.config) || fails) continue
          const planned = await Effect.runPromise(Effect.result(wantedPlan(pipeline, args)))
          if (Result.isFailure(planned)) throw new Error(render(planned.failure))
        }
      } catch (error) {
        wrong.push(`${at}: ${text}\n    ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    assert.deepStrictEqual(wrong, [])
  })
})

describe("the front page", () => {
  it("shows a pipeline that is a file, which is run by a test", () => {
    const [, shown] = /^```ts\n([^]*?)^```/m.exec(readFileSync(join(root, "README.md"), "utf8"))!
    assert.include(readFileSync(join(root, "docs/examples/focal/grid.ts"), "utf8"), shown!)
  })
})

describe("a line is split into words", () => {
  it("as a shell does, up to what is not the program's", () => {
    assert.deepStrictEqual(shellWords(`a 'b c' "d'e" f=g  # h`), ["a", "b c", "d'e", "f=g"])
    assert.deepStrictEqual(shellWords(`a - < b`), ["a", "-"])
    assert.deepStrictEqual(shellWords(`a "" b | c`), ["a", "", "b"])
    assert.throws(() => shellWords(`a 'b`), /never closed/)
  })

  it("only where it calls the program", () => {
    for (const line of ["$ pipeline runs", "npx pipeline runs", "A=$(cat b) pipeline runs", "pipeline runs | head"])
      assert.deepStrictEqual(commandLine("", line)?.words, ["runs"], line)
    for (const line of ["pipelines", "a pipeline runs", "# pipeline runs"]) assert.isUndefined(commandLine("", line))
  })
})
