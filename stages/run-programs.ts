/** Runs programs that a model wrote, in the sandbox. An item is one program: only programs that were not run before are run. */
import { Effect, Schema } from "effect"
import { Attempts, Verdicts } from "../src/artifacts/kinds.ts"
import { Positive, PositiveInt, setting } from "../src/config/setting.ts"
import { Attempt } from "../src/evaluation/suiteFiles.ts"
import { sha256 } from "../src/pipeline/Digest.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { makeSandbox } from "../src/sandbox/Sandbox.ts"
import { readLines } from "./evaluate/suiteRows.ts"

export const runPrograms = Stage.make("run-programs", {
  inputs: { attempts: Attempts },
  parameters: Schema.Struct({
    /** Wall time of a program */
    seconds: setting(Positive, 3),
    /** Address space of a program */
    memoryMiB: setting(PositiveInt, 1024)
  }),
  outputs: { verdicts: Verdicts },
  executesCode: true,
  // What runs inside the sandbox.
  files: ["../src/sandbox/harness.py"],
  resources: { cpus: 1, memoryMiB: 1024 },
  run: Effect.fn("run-programs")(function* ({ inputs, metric, outputs, parameters, progress, slots }) {
    const attempts = yield* readLines(inputs.attempts, "attempts.jsonl", Attempt)
    const programs = new Map(
      attempts.flatMap(({ program }) => (program === undefined ? [] : [[sha256(program), program] as const]))
    )
    if (programs.size === 0) return yield* permanent("there is no program among the attempts")
    const { verdicts } = outputs
    const sandbox = yield* makeSandbox({ ...parameters, modules: inputs.attempts.metadata.modules })
    // Another Python may come to another verdict.
    const keyOf = (digest: string) => verdicts.key(`${sandbox.python} ${digest}`)
    const missing = [...programs].filter(([digest]) => !verdicts.has(keyOf(digest)))
    yield* metric("programs/new", missing.length)
    yield* metric("programs/reused", programs.size - missing.length)
    let done = programs.size - missing.length
    yield* Effect.forEach(
      missing,
      ([digest, program]) =>
        Effect.gen(function* () {
          const verdict = yield* sandbox.run(program)
          yield* verdicts.put(keyOf(digest), Buffer.from(verdict, "utf8"), { program: digest, result: verdict })
          yield* progress({ done: ++done, total: programs.size, unit: "programs" })
        }),
      { concurrency: slots.cpus, discard: true }
    )
    const keys = [...programs.keys()].map(keyOf)
    yield* verdicts.finish(keys, {
      programs: keys.length,
      passed: keys.filter(key => (verdicts.note(key) as { readonly result: string }).result === "passed").length,
      python: sandbox.python
    })
  }, Effect.mapError(asStageError))
})
