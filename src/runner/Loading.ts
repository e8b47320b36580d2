/** The loading of a stage in its action's process: exactly the modules that the key was made from, and the packages that it covers, in its threads as well. */
import { pathToFileURL } from "node:url"
import { isStage } from "../pipeline/Stage.ts"
import { StageError } from "../pipeline/StageError.ts"
import type { LoadStage } from "./Child.ts"
import { watchLoads } from "./Cover.ts"
import type { Request } from "./Request.ts"
import * as Threads from "./Threads.ts"

/** Loads stages for one action. `root`: where this program lies, whose own modules nobody edits while it runs. */
export const makeLoad = (root: string): LoadStage => {
  let watched: Threads.Watched | undefined
  const load = async (stage: Request["stage"]) => {
    const { export: name, loadable, module, packages = [], silent = [] } = stage
    if (loadable !== undefined) {
      watched = Threads.watched({ module, loadable, silent, packages, root })
      watchLoads(watched.covered, watched.refuse)
    }
    const found = ((await import(pathToFileURL(module).href)) as Record<string, unknown>)[name]
    if (!isStage(found)) throw new Error(`its export ${name} is no stage`)
    return found
  }
  const refused = () => {
    const refusal = watched?.refused()
    return refusal === undefined ? undefined : new StageError(refusal)
  }
  return Object.assign(load, { refused })
}
