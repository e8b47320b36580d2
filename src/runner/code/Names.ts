/** What the names in an expression stand for: a library's function, one of Node's, a function of the user's own. */
import { isPureOfNode, type LibraryPath } from "./Libraries.ts"
import type { Loaded, Origin, Program } from "./Program.ts"
import { bare, identifierName, isNode, memberName, type Node } from "./Syntax.ts"

/**
 * What is known of a value: `plain` (a primitive), `data` (an object or array of such, without accessors), `function`, `class`, `library` (made by
 * a library that we know), `static` (a class with static members: whoever reads them runs code), `opaque` (anything; it may be passed on, and nothing else).
 */
export type Kind = "plain" | "data" | "function" | "class" | "static" | "library" | "opaque"

/** Names of a function's parameters and constants, while its body is looked at. */
export type Scope = ReadonlyMap<string, Kind>

export interface At {
  readonly loaded: Loaded
  /** Items from this one on are not initialised yet when the code runs. */
  readonly before: number
  readonly scope: Scope
  readonly depth: number
}

export class Names {
  readonly #program: Program

  constructor(program: Program) {
    this.#program = program
  }

  /** `dirname(…)`, `path.join(…)` of Node's own modules. What `createRequire` returned is known by its name. */
  isOfNode(at: At, callee: Node): boolean {
    const holder = callee.type === "MemberExpression" ? bare(callee["object"] as Node) : callee
    const name = identifierName(holder)
    if (name === undefined || at.scope.has(name)) return false
    const [origin, ...more] = this.#program.local(at.loaded, name)
    if (origin?._tag !== "other" || more.length > 0) return false
    const isAll = origin.name === "*" || origin.name === "default"
    return isPureOfNode(origin.specifier, isAll ? (memberName(callee) ?? "") : origin.name)
  }

  isGlobal(at: At, node: unknown, name: string): boolean {
    return identifierName(node) === name && !this.isBound(at, name)
  }

  isBound({ loaded: { module }, scope }: At, name: string): boolean {
    return scope.has(name) || module.imports.has(name) || module.items.some(item => item.names.includes(name))
  }

  /** What `ns.name` is, where `ns` is all of a module of the user's own. */
  namespaceMember(at: At, object: Node, name: string): ReadonlyArray<Origin> | undefined {
    const holder = identifierName(object)
    if (holder === undefined || at.scope.has(holder)) return undefined
    const [origin, ...more] = this.#program.local(at.loaded, holder)
    if (origin?._tag !== "namespace" || more.length > 0) return undefined
    return this.#program.exported(origin.loaded, name)
  }

  /** The path to a library's function; undefined for anything else. */
  libraryPath(at: At, given: Node): LibraryPath | undefined {
    const node = bare(given)
    if (node.type === "MemberExpression") {
      const above = this.libraryPath(at, node["object"] as Node)
      const name = memberName(node)
      return above === undefined || name === undefined ? undefined : [...above, name]
    }
    const name = identifierName(node)
    if (name === undefined || at.scope.has(name)) return undefined
    const [origin, ...more] = this.#program.local(at.loaded, name)
    if (more.length > 0) return undefined
    if (origin?._tag === "ours") {
      const namespace = /^(\w+)\.ts$/.exec(origin.module)?.[1]
      return namespace === undefined
        ? [origin.name]
        : origin.name === "*"
          ? [namespace]
          : isOwnFunction(origin.name)
            ? [origin.name]
            : [namespace, origin.name]
    }
    if (origin?._tag !== "package" || !this.#program.isEffect(origin)) return undefined
    const namespace = origin.specifier.split("/")[1]
    return namespace === undefined
      ? origin.name === "*"
        ? []
        : [origin.name]
      : origin.name === "*"
        ? [namespace]
        : [namespace, origin.name]
  }

  functionAt(
    at: At,
    callee: Node
  ): { readonly loaded: Loaded; readonly node: Node; readonly body: Node; readonly inline: boolean } | undefined {
    const usable = (loaded: Loaded, given: unknown, inline: boolean) => {
      if (!isNode(given)) return undefined
      const node = bare(given)
      if (!/^(?:ArrowFunctionExpression|FunctionExpression|FunctionDeclaration)$/.test(node.type)) return undefined
      if (node["async"] === true || node["generator"] === true) return undefined
      return { loaded, node, body: node["body"] as Node, inline }
    }
    const inline = usable(at.loaded, callee, true)
    if (inline !== undefined) return inline
    const name = identifierName(callee)
    const origins =
      name !== undefined
        ? at.scope.has(name)
          ? []
          : this.#program.local(at.loaded, name)
        : callee.type === "MemberExpression"
          ? (this.namespaceMember(at, bare(callee["object"] as Node), memberName(callee) ?? "") ?? [])
          : []
    const [origin, ...more] = origins
    if (origin?._tag !== "item" || more.length > 0) return undefined
    const { item, loaded } = origin
    if (item.names.some(each => loaded.module.assigned.has(each))) return undefined
    if (item.kind === "let" || (loaded === at.loaded && item.kind !== "function" && item.index >= at.before))
      return undefined
    return usable(loaded, item.kind === "const" ? item.node["init"] : item.node, false)
  }
}

const isOwnFunction = (name: string): boolean => name === "permanent"
