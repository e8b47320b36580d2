/**
 * What a stage asks of whoever runs its actions. It is kept apart from the stage, where no code of a user's can see it: it decides when an action runs and how often,
 * never what the action computes, and so it is no part of the code.
 */
import { ConfigError } from "./ConfigError.ts"
import { wrongResources } from "./Declaration.ts"

/** What an action holds while it runs. */
export interface Resources {
  readonly cpus?: number
  readonly gpus?: number
  readonly memoryMiB?: number
}

export interface Scheduling {
  /** Throws where the stage asks for what cannot be. */
  readonly resources: (parameters: unknown) => Required<Resources>
  readonly retries: { readonly transient: number; readonly crashed: number; readonly timeout: number }
  /** Seconds of one attempt. */
  readonly timeout: number | undefined
  /** Whether actions run programs that a model wrote: a run with such a stage must be allowed to. */
  readonly executesCode: boolean
}

/** The options of `Stage.make` that a fingerprint leaves out. `description` and `process` are for readers. */
export const schedulingOptions: ReadonlySet<string> = new Set([
  "description",
  "executesCode",
  "process",
  "resources",
  "retries",
  "timeout"
])

const declared = new WeakMap<object, Scheduling>()

export const declare = (
  stage: object,
  name: string,
  options: {
    readonly resources?: Resources | ((parameters: never) => Resources)
    readonly retries?: Partial<Scheduling["retries"]>
    readonly timeout?: number
    readonly executesCode?: boolean
  }
): void => {
  const { executesCode = false, resources, retries, timeout } = options
  const fixed = withDefaults(typeof resources === "function" ? undefined : resources)
  const asked = (found: Resources): Required<Resources> => {
    const wrong = wrongResources(`stage ${name}`, found)
    if (wrong !== undefined) throw new ConfigError({ message: wrong.filter(part => part !== undefined).join("; ") })
    return withDefaults(found)
  }
  declared.set(stage, {
    resources: typeof resources === "function" ? parameters => asked(resources(parameters as never)) : () => fixed,
    retries: { transient: retries?.transient ?? 3, crashed: retries?.crashed ?? 1, timeout: retries?.timeout ?? 0 },
    timeout,
    executesCode
  })
}

/** Of a stage that `Stage.make` made. */
export const schedulingOf = (stage: object): Scheduling => declared.get(stage)!

const withDefaults = (asked: Resources | undefined): Required<Resources> => ({
  cpus: asked?.cpus ?? 1,
  gpus: asked?.gpus ?? 0,
  memoryMiB: asked?.memoryMiB ?? 256
})
