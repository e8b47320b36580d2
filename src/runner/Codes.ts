/** Fingerprints of the stages of a plan: from the build for stages that ship with the program, remembered or computed for others. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { canonical } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { AnyStage } from "../pipeline/Stage.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import * as Fingerprint from "./Fingerprint.ts"
import type { CodeOf } from "./Resolver.ts"

/** Where a stage is, for the process that runs it. */
export interface StageLocation {
  readonly module: string
  readonly export: string
}

/** What the build knows of a stage: its fingerprint, or one for each method. */
export type BuiltFingerprints = { readonly [stage: string]: { readonly [method: string]: Fingerprint.Fingerprint } }

/** The file in `dist/` that holds them. */
export const builtFile = "fingerprints.json"

/** A place to remember fingerprints between runs. */
export interface Memory {
  readonly get: (name: string) => string | undefined
  readonly set: (name: string, value: string) => void
}

export interface Codes {
  readonly codeOf: (node: PlanNode) => CodeOf
  readonly locate: (stage: AnyStage) => StageLocation
  /** For `why`: what a stage's fingerprint consists of. */
  readonly fingerprintOf: (node: PlanNode) => Fingerprint.Fingerprint
}

/** The name under which a stage's fingerprint is kept when it chooses no method. */
export const noMethod = ""

/** Fingerprints for all stages among these nodes, each computed at most once. */
export const load = (
  nodes: ReadonlyArray<PlanNode>,
  memory: Memory,
  dist: string | undefined
): Effect.Effect<Codes, StageError> =>
  Effect.gen(function* () {
    const found = new Map<AnyStage, Map<string, Known>>()
    const locations = new Map<AnyStage, StageLocation>()
    for (const node of nodes) {
      const { stage } = node
      const method = Fingerprint.chosenMethod(stage, node.parameters) ?? noMethod
      let methods = found.get(stage)
      if (methods === undefined) {
        found.set(stage, (methods = new Map()))
        const { export: name, file } = yield* Fingerprint.locate(stage)
        locations.set(stage, { module: file, export: name })
      }
      if (methods.has(method)) continue
      const fingerprint = yield* fingerprintOf(stage, method, locations.get(stage)!, memory, dist)
      methods.set(method, {
        fingerprint,
        code: {
          digest: fingerprint.digest,
          detail: canonical({ modules: fingerprint.modules, packages: fingerprint.packages })
        }
      })
    }
    const of = ({ parameters, stage }: PlanNode) =>
      found.get(stage)!.get(Fingerprint.chosenMethod(stage, parameters) ?? noMethod)!
    return {
      codeOf: node => of(node).code,
      fingerprintOf: node => of(node).fingerprint,
      locate: stage => locations.get(stage)!
    }
  })

interface Known {
  readonly fingerprint: Fingerprint.Fingerprint
  readonly code: CodeOf
}

const fingerprintOf = (
  stage: AnyStage,
  method: string,
  location: StageLocation,
  memory: Memory,
  dist: string | undefined
): Effect.Effect<Fingerprint.Fingerprint, StageError> =>
  Effect.gen(function* () {
    if (dist !== undefined && location.module.startsWith(dist)) {
      const built = builtFingerprints(dist)[stage.name]?.[method]
      if (built !== undefined) return built
    }
    const specifiers = stage.methods?.modules ?? {}
    if (method !== noMethod && specifiers[method] === undefined) {
      return yield* permanent(
        `stage ${stage.name} has no method ${method} (parameter ${stage.methods?.by})`,
        `its methods: ${Object.keys(specifiers).join(", ")}`
      )
    }
    const name = `fingerprint ${location.module}#${location.export}#${method}`
    const remembered = memory.get(name)
    if (remembered !== undefined) {
      const fingerprint = JSON.parse(remembered) as Fingerprint.Fingerprint
      if (Fingerprint.isCurrent(fingerprint)) return fingerprint
    }
    const fingerprint = yield* Fingerprint.compute(
      Fingerprint.targetOf(
        stage,
        { file: location.module, export: location.export },
        method === noMethod ? undefined : method
      )
    )
    memory.set(name, JSON.stringify(fingerprint))
    return fingerprint
  })

let built: BuiltFingerprints | undefined

const builtFingerprints = (dist: string): BuiltFingerprints => {
  const file = join(dist, builtFile)
  built ??= existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as BuiltFingerprints) : {}
  return built
}

/** The directory of the built program, when this is it; undefined when it runs from its sources. */
export const distDirectory = (moduleUrl: string): string | undefined =>
  moduleUrl.endsWith(".ts") ? undefined : fileURLToPath(new URL(".", moduleUrl))
