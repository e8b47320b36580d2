/** Starts the program as people do, in a process of its own. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url))

export interface Answer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `pipeline …` in a directory; without colours, and with no cache named by the environment. */
export const pipeline = (
  directory: string,
  words: ReadonlyArray<string>,
  environment: { readonly [name: string]: string } = {},
  timeout = 60_000
): Answer => {
  const { PIPELINE_CACHE: _, FORCE_COLOR: __, ...inherited } = process.env
  const { status, stderr, stdout } = spawnSync(process.execPath, [launcher, ...words], {
    cwd: directory,
    encoding: "utf8",
    env: { ...inherited, NO_COLOR: "1", ...environment },
    timeout
  })
  return { code: status, stdout, stderr }
}
