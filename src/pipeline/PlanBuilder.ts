/** Builds a plan while a pipeline's function runs: each call of a stage adds a node. */
import { Result, Schema } from "effect"
import { type AnyPort, isRef, portArity, portKind, type Ref } from "./Artifact.ts"
import { ConfigError } from "./ConfigError.ts"
import { canonical } from "./Digest.ts"
import * as Origin from "./Origin.ts"
import type { NodeId, PlanNode, Wire } from "./Plan.ts"
import type { AnyStage } from "./Stage.ts"

/** A parameter set from the command line: `--set train.lr=1e-4`, `--set train/with_align.lr=1e-4`. */
export interface Override {
  readonly target: string
  readonly path: ReadonlyArray<string>
  readonly value: unknown
  /** As typed, for messages. */
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
  readonly #decoders = new Map<AnyStage, Decoder>()

  constructor(overrides: ReadonlyArray<Override>) {
    this.#overrides = overrides
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

  add(stage: AnyStage, args: Record<string, unknown>, caller: (...args: never) => unknown): Record<string, Ref> {
    const { name, ...rest } = args
    if (name !== undefined && (typeof name !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))) {
      throw this.#error(
        caller,
        `the name of a ${stage.name} stage consists of letters, digits, ".", "_" and "-", got ${JSON.stringify(name)}`
      )
    }
    const label = this.#label(stage, name, caller)
    const wires: Array<Wire> = []
    for (const port of Object.keys(stage.inputs)) {
      this.#wire(wires, label, port, stage.inputs[port]!, rest[port], caller)
      delete rest[port]
    }
    const { decoded, text } = this.#parameters(stage, label, rest, caller)
    const id = this.nodes.length
    this.nodes.push({ id, label, stage, parameters: decoded, parametersText: text, wires })
    this.#labels.set(label, id)
    const outputs: Record<string, Ref> = {}
    for (const output of Object.keys(stage.outputs)) {
      outputs[output] = { _tag: "Ref", node: id, output, kind: stage.outputs[output]!, plan: this }
    }
    return outputs
  }

  #label(stage: AnyStage, name: string | undefined, caller: (...args: never) => unknown): string {
    if (name !== undefined) {
      const label = `${stage.name}/${name}`
      if (this.#labels.has(label)) throw this.#error(caller, `two stages are named ${label}`, "give each its own name")
      return label
    }
    if (!this.#labels.has(stage.name)) return stage.name
    let n = (this.#repeats.get(stage.name) ?? 1) + 1
    while (this.#labels.has(`${stage.name}/${n}`)) n++
    this.#repeats.set(stage.name, n)
    return `${stage.name}/${n}`
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
      if (value.plan !== this) throw this.#error(caller, `${label}.${place} belongs to another pipeline`)
      if (!(value.node >= 0 && value.node < this.nodes.length)) {
        throw this.#error(
          caller,
          `${label}.${place} refers to a stage that is not made yet: the graph would have a cycle`
        )
      }
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
        if (typeof given !== "object" || given === null) {
          throw this.#error(
            caller,
            `${label}.${port} must be a record of artifacts of kind ${kind.name}, got ${describe(given)}`
          )
        }
        for (const name of Object.keys(given).sort()) add((given as Record<string, unknown>)[name], name)
    }
  }

  #parameters(stage: AnyStage, label: string, given: Record<string, unknown>, caller: (...args: never) => unknown) {
    let decoder = this.#decoders.get(stage)
    if (decoder === undefined) this.#decoders.set(stage, (decoder = makeDecoder(stage)))
    const overrides = this.#overrides.filter(({ target }) => target === stage.name || target === label)
    const value = overrides.reduce(
      (parameters, override) => (this.#used.add(override), setAt(parameters, override.path, override.value)),
      given
    )
    const result = decoder(value)
    if (Result.isSuccess(result)) return result.success
    const problems = result.failure.map(({ path, message }) => {
      const override = overrides.find(({ path: set }) =>
        set.every((part, i) => path[i] === undefined || String(path[i]) === part)
      )
      const where = `${label}.${path.map(String).join(".")}`.replace(/\.$/, "")
      if (override !== undefined) return { at: `--set ${override.text}`, message: `${where}: ${message}` }
      const position = Origin.find(given, path)
      return { at: position === undefined ? undefined : Origin.format(position), message: `${where}: ${message}` }
    })
    const first = problems[0]!
    const at = first.at ?? this.#at(caller)
    throw new ConfigError({
      message: [first.message, ...problems.slice(1).map(p => `${p.at ?? at}: ${p.message}`)].join("\n"),
      ...(at === undefined ? {} : { at }),
      ...(stage.description === ""
        ? {}
        : { advice: `parameters of ${stage.name}: ${Object.keys(fieldsOf(stage)).join(", ")}` })
    })
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

interface Issue {
  readonly path: ReadonlyArray<PropertyKey>
  readonly message: string
}

type Decoder = (
  value: unknown
) => Result.Result<{ readonly decoded: unknown; readonly text: string }, ReadonlyArray<Issue>>

/** Decodes and re-encodes, so that defaults are part of the text that enters the key. */
const makeDecoder = (stage: AnyStage): Decoder => {
  const decode = Schema.decodeUnknownResult(stage.parameters, { errors: "all", onExcessProperty: "error" })
  const encode = Schema.encodeUnknownSync(stage.parameters)
  const validate = Schema.toStandardSchemaV1(stage.parameters, {
    parseOptions: { errors: "all", onExcessProperty: "error" }
  })["~standard"].validate
  return value => {
    const decoded = decode(value)
    if (Result.isSuccess(decoded)) {
      return Result.succeed({ decoded: decoded.success, text: canonical(encode(decoded.success)) })
    }
    const report = validate(value)
    const issues = report instanceof Promise || report.issues === undefined ? [] : report.issues
    return Result.fail(
      issues.length === 0
        ? [{ path: [], message: String(decoded.failure) }]
        : issues.map(issue => ({
            path: (issue.path ?? []).map(part => (typeof part === "object" ? part.key : part)),
            message: `${issue.message}${got(value, issue.path ?? [])}`
          }))
    )
  }
}

const got = (root: unknown, path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string => {
  let value = root
  for (const part of path) {
    if (typeof value !== "object" || value === null) return ""
    value = (value as Record<PropertyKey, unknown>)[typeof part === "object" ? part.key : part]
  }
  return value === undefined ? "" : `, got ${describe(value)}`
}

const fieldsOf = (stage: AnyStage): Record<string, unknown> =>
  "fields" in stage.parameters ? (stage.parameters.fields as Record<string, unknown>) : {}

const describe = (value: unknown): string => {
  if (value === undefined) return "nothing"
  if (typeof value === "function") return "a function"
  try {
    const text = JSON.stringify(value)
    return text.length > 60 ? `${text.slice(0, 57)}...` : text
  } catch {
    return "a value without JSON form"
  }
}

const setAt = (value: Record<string, unknown>, path: ReadonlyArray<string>, to: unknown): Record<string, unknown> => {
  const [head, ...rest] = path
  if (head === undefined) return value
  const below = value[head]
  const inner =
    typeof below === "object" && below !== null && !Array.isArray(below) ? (below as Record<string, unknown>) : {}
  return { ...value, [head]: rest.length === 0 ? to : setAt(inner, rest, to) }
}
