/** Whether this machine has what the sandbox needs. Tests of it are skipped aloud where it has not. */
import { Effect, Result } from "effect"
import { makeSandbox, type Sandbox, type SandboxOptions } from "../../src/sandbox/Sandbox.ts"

/** An environment in which code may be run. */
export const allowing = { ...process.env, PIPELINE_ALLOW_CODE_EXECUTION: "1" }

export const sandboxFor = (options: Partial<SandboxOptions> = {}): Promise<Sandbox> =>
  Effect.runPromise(makeSandbox({ seconds: 3, memoryMiB: 1024, ...options }, allowing))

/** Why there is no sandbox; undefined where there is one. */
export const missing: string | undefined = await Effect.runPromise(
  Effect.result(makeSandbox({ seconds: 3, memoryMiB: 1024 }, allowing))
).then(Result.match({ onSuccess: () => undefined, onFailure: ({ message }) => message }))

if (missing !== undefined) console.warn(`SKIPPED, tests that run programs in the sandbox: ${missing}`)
