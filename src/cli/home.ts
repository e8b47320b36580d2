/** Where the program itself is: its version, its assets, its configs. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** Directory of the built program; undefined when it runs from its sources. */
export const dist = import.meta.url.endsWith(".ts") ? undefined : fileURLToPath(new URL(".", import.meta.url))

/** The package's root: above `src/cli/`, or above `dist/` and the build in it. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

export const assets = join(root, "assets")

/** The module that action processes start with. */
export const worker = dist === undefined ? join(root, "src", "cli", "worker.ts") : join(dist, "worker.js")

/** The module of the process that cleans up after a runner that was killed. */
export const guard = dist === undefined ? join(root, "src", "executors", "guard.ts") : join(dist, "guard.js")

/** Where Node keeps compiled modules between processes; the launcher names the same place. */
export const compiled = join(root, "node_modules", ".cache", "pipeline")

/** Files and lines of an error's stack, the innermost first; Node's own have none. */
export const frames = ({ stack }: Error): ReadonlyArray<string> =>
  [...(stack ?? "").matchAll(/(?<=[\s(]|file:\/\/)(\/[^\s()]+:\d+:\d+)/g)].map(match => match[1]!)

let version: string | undefined

export const programVersion = (): string =>
  (version ??= (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version)
