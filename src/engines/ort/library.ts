/**
 * ONNX Runtime's library: where it lies, and the switch of its telemetry. The library sends what it is used for to its maker, and writes a device id, a
 * database of events and a log below the home directory and the directory for temporary files; it looks for the switch once, when its first session is
 * made (docs/decisions/020-telemetry.md). Loads nothing itself: runtime.ts does, and nothing else.
 */
import { createRequire } from "node:module"
import { isMainThread } from "node:worker_threads"

const name = "onnxruntime-node"

/** The library takes `1` and `true` only. */
const off = { ORT_DISABLE_TELEMETRY: "1" } as const

/** For processes that load the library themselves. */
export const withoutTelemetry = (environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv => ({
  ...environment,
  ...off
})

/**
 * Switches telemetry off for this process, its threads and its children, whatever its environment said. In a thread this cannot be done, because threads
 * have copies of the environment which native code does not see: there it must have been done before the thread was started.
 */
export const disableTelemetry = (): void => {
  if (isMainThread) Object.assign(process.env, off)
  else if (process.env["ORT_DISABLE_TELEMETRY"] !== off.ORT_DISABLE_TELEMETRY)
    throw new Error(
      "this thread would load ONNX Runtime with its telemetry on: set ORT_DISABLE_TELEMETRY=1 before the thread is started"
    )
}

const require = createRequire(import.meta.url)

/** The file of its entry, for a process that loads it by `withoutTelemetry`. */
export const libraryFile = (): string => require.resolve(name)

export const libraryVersion = (): string => (require(`${name}/package.json`) as { readonly version: string }).version
