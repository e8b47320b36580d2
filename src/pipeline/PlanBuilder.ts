/** Builds a plan while a pipeline's function runs: each call of a stage adds a node. */
import { Result } from "effect"
import { type AnyPort, isRef, portArity, portKind, type Ref } from "./Artifact.ts"
import { ConfigError } from "./ConfigError.ts"
import { longestName } from "./Declaration.ts"
import * as Origin from "./Origin.ts"
import { overrideProblem, pathBelow, touches } from "./OverrideProblem.ts"
import { type Decoded, type Decoder, type Explain, makeDecoder } from "./Parameters.ts"
import type { NodeId, PlanNode, Wire } from "./Plan.ts"
import * as Problem from "./Problem.ts"
import { placed, type SchemaProblem } from "./SchemaProblem.ts"
import { schedulingOf } from "./Scheduling.ts"
import type { AnyStage } from "./Stage.ts"
import { ownField } from "./ownField.ts"

/** A parameter set from the command line: `--set train.lr=1e-4`, `--set train/with_align.lr=1e-4`. */
export interface Override {
  readonly target: string
  readonly path: ReadonlyArray<string>
  readonly value: unknown
  /** As typed, for messages. */
  readonly text: string
}

/** One that means a stage, with the path below it. */
interface Laid {
  readonly override: Override
  readonly path: ReadonlyArray<string>
  readonly text: string
}

let active: PlanBuilder | undefined

/** The builder of the pipeline being evaluated. Throws when a stage is called anywhere else. */
export const current = (stage: string): PlanBuilder => {
  if (active === undefined) {
    throw new ConfigError({
      message: `stage ${stage} was called outside a pipeline`,
      advice: "call stages inside the function given to Pipeline.make"
    })
  }
  return active
}

export class PlanBuilder {
  readonly nodes: Array<PlanNode> = []
  readonly #labels = new Map<string, NodeId>()
  readonly #repeats = new Map<string, number>()
  readonly #overrides: ReadonlyArray<Override>
  readonly #used = new Set<Override>()
  readonly #refused = new Map<Override, ConfigError>()
  readonly #decoders = new Map<AnyStage, Decoder>()
  readonly #explain: Explain

  constructor(overrides: ReadonlyArray<Override>, explain: Explain = {}) {
    this.#overrides = overrides
    this.#explain = explain
  }

  /** Runs `build` with this builder as the current one. */
  run<A>(build: () => A): A {
    const outer = active
    active = this
    try {
      return build()
    } finally {
      active = outer
    }
  }

  /** Overrides that no stage took. */
  get unusedOverrides(): ReadonlyArray<Override> {
    return this.#overrides.filter(override => !this.#used.has(override))
  }

  /** Why an override was not taken, where the stage that it names has a use. */
  refusal(override: Override): ConfigError | undefined {
    return this.#refused.get(override)
  }

  add(stage: AnyStage, args: Record<string, unknown>, caller: (...args: never) => unknown): Record<string, Ref> {
    const label = this.#label(stage, this.#name(stage, args, caller))
    if (this.#labels.has(label)) throw this.#error(caller, `two stages are named ${label}`, "give each its own name")
    const wires: Array<Wire> = []
    for (const port of Object.keys(stage.inputs)) {
      this.#wire(wires, label, port, stage.inputs[port]!, ownField(args, port), caller)
    }
    const { decoded, given, overrides, text } = this.#parameters(stage, label, args, caller)
    for (const { override } of overrides) this.#used.add(override)
    const set = overrides.map(({ path, text: typed }) => ({ path, text: typed }))
    this.#checkResources(stage, label, decoded, caller)
    const id = this.nodes.length
    this.nodes.push({ id, label, stage, parameters: decoded, parametersText: text, given, set, wires })
    this.#labels.set(label, id)
    const outputs: Record<string, Ref> = {}
    for (const output of Object.keys(stage.outputs)) {
      outputs[output] = { _tag: "Ref", node: id, output, kind: stage.outputs[output]!, plan: this }
    }
    return outputs
  }

  /** The parameters that a call of a stage with these arguments gets, overrides laid on them: what wiring may depend on. */
  settings(stage: AnyStage, args: Record<string, unknown>, caller: (...args: never) => unknown): unknown {
    return this.#parameters(stage, this.#label(stage, this.#name(stage, args, caller)), args, caller).decoded
  }

  /** The same before they are decoded. */
  written(stage: AnyStage, args: Record<string, unknown>, caller: (...args: never) => unknown): unknown {
    const { given, overrides } = this.#laid(stage, this.#label(stage, this.#name(stage, args, caller)), args)
    return overrides.reduce((value: unknown, { override, path }) => setAt(value, path, override.value), given)
  }

  #name(stage: AnyStage, { name }: Record<string, unknown>, caller: (...args: never) => unknown): string | undefined {
    if (name === undefined) return undefined
    if (typeof name === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
      if (name.length <= longestName) return name
      throw this.#error(
        caller,
        `the name of a ${stage.name} stage has at most ${longestName} characters, got ${name.length}: ${name.slice(0, 40)}…`
      )
    }
    throw this.#error(
      caller,
      `the name of a ${stage.name} stage consists of letters, digits, ".", "_" and "-", got ${JSON.stringify(name)}`
    )
  }

  #label(stage: AnyStage, name: string | undefined): string {
    if (name !== undefined) return `${stage.name}/${name}`
    if (!this.#labels.has(stage.name)) return stage.name
    let n = this.#repeats.get(stage.name) ?? 2
    while (this.#labels.has(`${stage.name}/${n}`)) n++
    // All below are taken, and stay so.
    this.#repeats.set(stage.name, n)
    return `${stage.name}/${n}`
  }

  /** Throws when a reference is not to an output of this plan; `what` begins the message. */
  check(reference: Ref, what: string): void {
    const wrong = this.#foreign(reference)
    if (wrong !== undefined) throw new ConfigError({ message: `${what} ${wrong}` })
  }

  /** Why a reference cannot be followed; references are values, and values can be forged. */
  #foreign(reference: Ref): string | undefined {
    if (reference.plan !== this) return "belongs to another pipeline"
    const node = this.nodes[reference.node]
    if (node === undefined) return "refers to a stage that is not made yet: the graph would have a cycle"
    return Object.hasOwn(node.stage.outputs, reference.output)
      ? undefined
      : `refers to output ${reference.output}, which ${node.label} does not have`
  }

  #wire(
    wires: Array<Wire>,
    label: string,
    port: string,
    declared: AnyPort,
    given: unknown,
    caller: (...args: never) => unknown
  ) {
    const kind = portKind(declared)
    const add = (value: unknown, name: string | undefined) => {
      const place = name === undefined ? port : `${port}.${name}`
      if (!isRef(value)) {
        throw this.#error(caller, `${label}.${place} must be an artifact of kind ${kind.name}, got ${describe(value)}`)
      }
      if (value.kind.name !== kind.name) {
        throw this.#error(caller, `${label}.${place} must be an artifact of kind ${kind.name}, got ${value.kind.name}`)
      }
      const wrong = this.#foreign(value)
      if (wrong !== undefined) throw this.#error(caller, `${label}.${place} ${wrong}`)
      wires.push({ port, name, node: value.node, output: value.output })
    }
    switch (portArity(declared)) {
      case "one":
        return add(given, undefined)
      case "optional":
        return given === undefined ? undefined : add(given, undefined)
      case "many":
        if (!Array.isArray(given))
          throw this.#error(
            caller,
            `${label}.${port} must be a list of artifacts of kind ${kind.name}, got ${describe(given)}`
          )
        for (const value of given as ReadonlyArray<unknown>) add(value, undefined)
        return
      case "named":
        if (typeof given !== "object" || given === null || Array.isArray(given)) {
          throw this.#error(
            caller,
            `${label}.${port} must be a record of artifacts of kind ${kind.name}, got ${describe(given)}`
          )
        }
        for (const name of Object.keys(given).sort()) add((given as Record<string, unknown>)[name], name)
    }
  }

  /** What a call gives as parameters, and what `--set` lays on them. */
  #laid(stage: AnyStage, label: string, args: Record<string, unknown>) {
    const overrides: ReadonlyArray<Laid> = this.#overrides.flatMap(override => {
      const path = pathBelow(override, stage.name, label)
      return path === undefined ? [] : [{ path, text: override.text, override }]
    })
    return { given: Origin.without(args, ["name", ...Object.keys(stage.inputs)]), overrides }
  }

  #parameters(
    stage: AnyStage,
    label: string,
    args: Record<string, unknown>,
    caller: (...args: never) => unknown
  ): Decoded & { readonly given: object; readonly overrides: ReadonlyArray<Laid> } {
    const { given, overrides } = this.#laid(stage, label, args)
    let decoder = this.#decoders.get(stage)
    if (decoder === undefined)
      this.#decoders.set(stage, (decoder = makeDecoder(stage, this.#explain[stage.name] ?? stage.parameters)))
    const decoded = (laid: typeof overrides) =>
      decoder(
        laid.reduce((value: unknown, { override, path }) => setAt(value, path, override.value), given),
        label
      )
    const error = (problems: ReadonlyArray<SchemaProblem>) =>
      Problem.toConfigError(
        problems.map(problem => {
          const set = overrides.findLast(({ path }) => touches(path, problem.path))
          const around = Origin.find(given, problem.path.slice(0, -1))
          if (set !== undefined) return overrideProblem(Object.keys(stage.inputs), problem, set, around)
          return placed(problem, given) ?? { at: this.#at(caller), message: problem.message, advice: problem.advice }
        })
      )
    const taken = (laid: typeof overrides, result: Decoded) => ({ ...result, given, overrides: laid })
    const result = decoded(overrides)
    if (Result.isSuccess(result)) return taken(overrides, result.success)
    // What is set for all uses of a stage is meant for those that have the parameter.
    const foreign = result.failure.filter(({ kind }) => kind === "foreign")
    const elsewhere = overrides.filter(
      ({ override, path }) => override.target === stage.name && foreign.some(problem => touches(path, problem.path))
    )
    if (elsewhere.length === 0) throw error(result.failure)
    for (const { override, path } of elsewhere)
      if (!this.#refused.has(override))
        this.#refused.set(override, error(foreign.filter(problem => touches(path, problem.path))))
    const others = overrides.filter(each => !elsewhere.includes(each))
    const again = decoded(others)
    if (Result.isFailure(again)) throw error(again.failure)
    return taken(others, again.success)
  }

  /** A function of the parameters that asks for what cannot be is found now, not when its action starts. */
  #checkResources(stage: AnyStage, label: string, parameters: unknown, caller: (...args: never) => unknown): void {
    try {
      schedulingOf(stage).resources(parameters)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw this.#error(caller, `${label}: its resources cannot be told: ${why}`)
    }
  }

  #at(caller: (...args: never) => unknown) {
    const position = Origin.callSite(caller)
    return position === undefined ? undefined : Origin.format(position)
  }

  #error(caller: (...args: never) => unknown, message: string, advice?: string): ConfigError {
    const at = this.#at(caller)
    return new ConfigError({
      message,
      ...(at === undefined ? {} : { at }),
      ...(advice === undefined ? {} : { advice })
    })
  }
}

const describe = (value: unknown): string => {
  if (isRef(value)) return `an artifact of kind ${value.kind.name}`
  if (typeof value === "object" && value !== null && Object.values(value).some(isRef)) {
    return `a ${Array.isArray(value) ? "list" : "record"} of artifacts`
  }
  return Problem.describe(value)
}

/** The value with `to` at `path`, through mappings (made where there is none) and into the items of lists. */
const setAt = (value: unknown, path: ReadonlyArray<string>, to: unknown): unknown => {
  const [head, ...rest] = path
  if (head === undefined) return to
  if (Array.isArray(value) && /^\d+$/.test(head) && Number(head) < value.length) {
    return value.map((item: unknown, i) => (i === Number(head) ? setAt(item, rest, to) : item))
  }
  const fields = typeof value === "object" && value !== null && !Array.isArray(value) ? value : {}
  const below = Object.hasOwn(fields, head) ? (fields as Record<string, unknown>)[head] : undefined
  return { ...fields, [head]: setAt(below, rest, to) }
}
