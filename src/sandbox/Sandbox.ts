/**
 * Runs programs that a model wrote. There is one kind of sandbox: bubblewrap with this machine's Python. Where it cannot be had, nothing is run: no weaker one stands in for it.
 */
import { Effect } from "effect"
import { permanent, StageError } from "../pipeline/StageError.ts"
import { type Confinement, type Limits, NotStarted, runConfined, type Verdict } from "./confined.ts"
import { findInterpreter, programIn } from "./interpreter.ts"
import { advice as permission, hasPermission } from "./permission.ts"
import { systemCallFilter } from "./systemCalls.ts"

export type { Limits, Verdict }

export interface Sandbox {
  /** Runs a program in a fresh process. It has passed when its last line is done and nothing was raised. */
  readonly run: (program: string) => Effect.Effect<Verdict, StageError>
  /** Version of the Python that runs it, as in `3.11.7`. */
  readonly python: string
}

export interface SandboxOptions extends Limits {
  /** Modules beside the standard library that programs import: looked for before anything is run. */
  readonly modules?: ReadonlyArray<string>
}

const advice =
  "install bubblewrap 0.7 or newer (Debian and Ubuntu: apt-get install bubblewrap) on a Linux that lets users make namespaces; a container needs the right to nest them"

/** Fails where there is no permission or no sandbox; it is tried first. */
export const makeSandbox = (
  { modules = [], ...limits }: SandboxOptions,
  environment: NodeJS.ProcessEnv = process.env
): Effect.Effect<Sandbox, StageError> =>
  Effect.gen(function* () {
    if (!hasPermission(environment)) return yield* permanent("programs would be run that a model wrote", permission)
    const bubblewrap = process.platform === "linux" ? programIn("bwrap", environment) : undefined
    if (bubblewrap === undefined)
      return yield* permanent("there is no sandbox to run programs in: bubblewrap (bwrap) is not there", advice)
    const filter = systemCallFilter(process.arch)
    if (filter === undefined)
      return yield* permanent(`the sandbox does not know the system calls of ${process.arch}`, "run it on x64 or arm64")
    const interpreter = yield* findInterpreter(environment)
    const confinement: Confinement = { ...limits, bubblewrap, interpreter, filter }
    const run = (program: string): Effect.Effect<Verdict, StageError> =>
      Effect.tryPromise({
        try: signal => runConfined(program, { ...confinement, signal }),
        catch: cause =>
          cause instanceof NotStarted
            ? new StageError({ class: "crashed", message: `the sandbox did not start: ${cause.message}`, advice })
            : permanent(`the sandbox failed: ${String(cause)}`)
      })
    const tried = yield* Effect.mapError(run("assert True"), ({ message }) => permanent(message, advice))
    if (tried !== "passed") return yield* permanent(`Python does not work in the sandbox: ${tried}`, advice)
    for (const module of modules) {
      const found = yield* run(`import ${module}`)
      if (found !== "passed")
        return yield* permanent(
          `the tests of these problems import ${module}, which ${interpreter.path} cannot: ${found}`,
          `install it there (${interpreter.path} -m pip install ${module}), or name another interpreter in PIPELINE_SANDBOX_PYTHON`
        )
    }
    return { run, python: interpreter.version }
  })
