/** Runs the program as people do: its launcher, in a folder of its own, with an environment that no setting of this machine leaks into. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url))

export interface Ended {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface ProgramOptions {
  /** Working directory; the cache is `cache` in it. */
  readonly cwd: string
  readonly environment?: Readonly<Record<string, string>>
}

const passedOn = ["PATH", "HOME", "TMPDIR"]

export const program = (args: ReadonlyArray<string>, options: ProgramOptions): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [launcher, ...args], {
      cwd: options.cwd,
      env: {
        ...Object.fromEntries(
          passedOn.flatMap(name => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))
        ),
        NO_COLOR: "1",
        ...options.environment
      },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.on("error", reject)
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
