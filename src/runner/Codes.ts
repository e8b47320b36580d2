/** Fingerprints of the stages of a plan: from the build for stages that ship with the program, remembered or computed for others. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { canonical, type Digest } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import type { AnyStage } from "../pipeline/Stage.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { entries } from "./Entries.ts"
import * as Fingerprint from "./Fingerprint.ts"
import * as FreshIdentity from "./FreshIdentity.ts"
import * as InMemory from "./InMemory.ts"
import type { CodeOf } from "./Resolver.ts"

/** Where a stage is, for the process that runs it. */
export interface StageLocation {
  readonly module: string
  readonly export: string
  /** The modules that it may load, with their content; left out for stages of the built program, which does not change. */
  readonly loadable?: Fingerprint.Fingerprint["loadable"]
  readonly silent?: Fingerprint.Fingerprint["silent"]
  /** Directories of the packages that it may load. */
  readonly packages?: ReadonlyArray<string>
}

/** What the build knows of a stage: its fingerprint, or one for each method. */
export type BuiltFingerprints = { readonly [stage: string]: { readonly [method: string]: Fingerprint.Fingerprint } }

/** The file in `dist/` that holds them: a line for each, so that a run decodes those of its own stages alone. */
export const builtFile = "fingerprints.txt"

/** The text of that file. */
export const builtText = (built: BuiltFingerprints): string =>
  `${Object.entries(built)
    .flatMap(([stage, methods]) =>
      Object.entries(methods).map(([method, fingerprint]) => lineOf(stage, method) + JSON.stringify(fingerprint))
    )
    .join("")}\n`

/** How the line of a fingerprint begins. */
const lineOf = (stage: string, method: string): string => `\n${JSON.stringify([stage, method])}\t`

/** A place to remember fingerprints between runs. */
export interface Memory {
  readonly get: (name: string) => string | undefined
  readonly set: (name: string, value: string) => void
}

export interface Codes {
  readonly codeOf: (node: PlanNode) => CodeOf
  readonly locate: (node: PlanNode) => StageLocation
  /** What the node's action reads without anybody comparing it, with the stat of now. */
  readonly filesOf: (node: PlanNode) => ReadonlyArray<readonly [path: string, stat: string]>
  /** For `why`: what a stage's fingerprint consists of. */
  readonly fingerprintOf: (node: PlanNode) => Fingerprint.Fingerprint
  /** The identity of the node's stage, of its code of now. */
  readonly identityOf: (node: PlanNode) => NonNullable<AnyStage["identity"]>
  /** Whether all that the node's fingerprint was made from is on disk as it was. */
  readonly isCurrent: (node: PlanNode) => boolean
  /** Computes the node's code anew where it changed; from then on the others answer with that. */
  readonly refresh: (node: PlanNode) => Effect.Effect<void, StageError>
}

/** The name under which a stage's fingerprint is kept when it chooses no method. */
export const noMethod = ""

/** Changes with what is remembered, and with how fingerprints are made: older memory is not asked. */
const memoryVersion = 7

/** Fingerprints for all stages among these nodes, each computed at most once. */
export const load = (
  nodes: ReadonlyArray<PlanNode>,
  memory: Memory,
  dist: string | undefined
): Effect.Effect<Codes, StageError> =>
  Effect.gen(function* () {
    const found = new Map<AnyStage, Map<string, Known>>()
    const source: Source = { memory, dist, session: new Fingerprint.Session(builtOurs(dist)) }
    for (const { parameters, stage } of nodes) {
      const method = Fingerprint.chosenMethod(stage, parameters) ?? noMethod
      let methods = found.get(stage)
      if (methods === undefined) found.set(stage, (methods = new Map()))
      if (methods.has(method)) continue
      const [sibling] = methods.values()
      const location = sibling ?? (yield* Fingerprint.locate(stage))
      const first = yield* known(stage, method, location, source)
      methods.set(method, InMemory.isOf(first.fingerprint.loadable) ? { ...first, loaded: first.code.digest } : first)
    }
    const methodsOf = (stage: AnyStage) => found.get(stage)!
    const of = ({ parameters, stage }: PlanNode) =>
      methodsOf(stage).get(Fingerprint.chosenMethod(stage, parameters) ?? noMethod)!
    const locate = (node: PlanNode): StageLocation => {
      const { built, export: name, file, fingerprint } = of(node)
      if (built) return { module: file, export: name }
      const { loadable, roots, silent } = fingerprint
      return { module: file, export: name, loadable, silent, packages: roots }
    }
    return {
      codeOf: node => of(node).code,
      filesOf: node => {
        const { built, fingerprint } = of(node)
        return built ? [] : fingerprint.unhooked.map(seen => [seen[0], Fingerprint.stateNow(seen)] as const)
      },
      fingerprintOf: node => of(node).fingerprint,
      locate,
      identityOf: node => {
        const { built, code, loaded } = of(node)
        return built || loaded === code.digest ? node.stage.identity! : FreshIdentity.of(node, locate(node))
      },
      isCurrent: node => of(node).built || Fingerprint.isCurrent(of(node).fingerprint),
      refresh: node =>
        Effect.suspend(() => {
          const before = of(node)
          if (before.built || Fingerprint.isCurrent(before.fingerprint)) return Effect.void
          const method = Fingerprint.chosenMethod(node.stage, node.parameters) ?? noMethod
          const fresh = { ...source, session: new Fingerprint.Session(builtOurs(dist)) }
          return Effect.map(
            known(node.stage, method, before, fresh),
            now => void methodsOf(node.stage).set(method, { ...now, loaded: before.loaded })
          )
        })
    }
  })

interface Source {
  readonly memory: Memory
  readonly dist: string | undefined
  readonly session: Fingerprint.Session
}

interface Location {
  readonly file: string
  readonly export: string
}

interface Known extends Location {
  readonly fingerprint: Fingerprint.Fingerprint
  readonly code: CodeOf
  /** Whether it is part of the built program, whose files nobody edits. */
  readonly built: boolean
  /** The code whose functions this process has, where that is known. */
  readonly loaded: Digest | undefined
}

const known = (
  stage: AnyStage,
  method: string,
  { export: name, file }: Location,
  source: Source
): Effect.Effect<Known, StageError> =>
  Effect.gen(function* () {
    const built = builtFor(stage, method, file, source.dist)
    const fingerprint = built ?? (yield* computed(stage, method, { export: name, file }, source))
    return {
      file,
      export: name,
      fingerprint,
      built: built !== undefined,
      loaded: undefined,
      code: {
        digest: built === undefined ? fingerprint.digest : Fingerprint.withFlags(fingerprint.digest),
        detail: canonical({ modules: fingerprint.modules, packages: fingerprint.packages })
      }
    }
  })

const builtFor = (stage: AnyStage, method: string, file: string, dist: string | undefined) =>
  dist === undefined || !file.startsWith(dist) ? undefined : builtFingerprint(dist, stage.name, method)

const computed = (
  stage: AnyStage,
  method: string,
  location: Location,
  { memory, session }: Source
): Effect.Effect<Fingerprint.Fingerprint, StageError> =>
  Effect.gen(function* () {
    const specifiers = stage.methods?.modules ?? {}
    if (method !== noMethod && specifiers[method] === undefined) {
      return yield* permanent(
        `stage ${stage.name} has no method ${method} (parameter ${stage.methods?.by})`,
        `its methods: ${Object.keys(specifiers).join(", ")}`
      )
    }
    const declared = canonical({ methods: stage.methods ?? null, files: stage.files, ours: oursOf(session.built) })
    const name = `fingerprint ${memoryVersion} ${location.file}#${location.export}#${method}`
    const remembered = recall(memory.get(name), declared)
    const renewed = remembered === undefined ? undefined : Fingerprint.renewed(remembered)
    if (renewed !== undefined) {
      if (renewed !== remembered) memory.set(name, JSON.stringify({ declared, fingerprint: renewed }))
      return renewed
    }
    const fingerprint = yield* Fingerprint.compute(
      Fingerprint.targetOf(stage, location, method === noMethod ? undefined : method),
      session
    )
    memory.set(name, JSON.stringify({ declared, fingerprint }))
    return fingerprint
  })

/** What is remembered, if it was made for the same declaration. */
const recall = (text: string | undefined, declared: string): Fingerprint.Fingerprint | undefined => {
  if (text === undefined) return undefined
  try {
    const value = JSON.parse(text) as { readonly declared?: string; readonly fingerprint?: Fingerprint.Fingerprint }
    return value.declared === declared && Array.isArray(value.fingerprint?.seen) ? value.fingerprint : undefined
  } catch {
    return undefined
  }
}

let builtLines: string | undefined

const builtFingerprint = (dist: string, stage: string, method: string): Fingerprint.Fingerprint | undefined => {
  const file = join(dist, builtFile)
  builtLines ??= existsSync(file) ? readFileSync(file, "utf8") : ""
  const line = lineOf(stage, method)
  const start = builtLines.indexOf(line)
  if (start < 0) return undefined
  const text = builtLines.slice(start + line.length, builtLines.indexOf("\n", start + line.length))
  return JSON.parse(text) as Fingerprint.Fingerprint
}

/** What users' stages import of the built program. */
const builtOurs = (dist: string | undefined): Fingerprint.Built =>
  dist === undefined
    ? {}
    : Object.fromEntries(Object.keys(entries).map(entry => [entry, builtFingerprint(dist, entry, noMethod)]))

const oursOf = (built: Fingerprint.Built): ReadonlyArray<string> => Object.values(built).map(each => each!.digest)
