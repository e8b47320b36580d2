/**
 * Whether evaluating a declaration can do anything but bind its names: only then may one that nothing reaches be left out. What is
 * not proven has effects. In one class, over 300 lines: the rules for parts of an expression call each other, and share what they found.
 */
import type { Item, Rendition } from "./Module.ts"
import {
  isPureCall,
  isPureCurriedCall,
  isPurePiped,
  codecs,
  collections,
  constructors,
  isTypedArray,
  numberHolders,
  pureMethods
} from "./Libraries.ts"
import { type At, type Kind, Names, type Scope } from "./Names.ts"
import type { Loaded, Origin, Program } from "./Program.ts"
import { bare, identifierName, isErased, isImportMeta, isNode, literalText, memberName, type Node } from "./Syntax.ts"

const deepest = 12
const nothing: Scope = new Map()

/** Whoever reads members of such a value may run code. */
const isUnknown = (kind: Kind | undefined): boolean => kind === "opaque" || kind === "static"

export class Purity {
  readonly #program: Program
  readonly #names: Names
  /** Whether other modules have effects, which may have put accessors on anybody's data. */
  readonly #strict: boolean
  readonly #items = new Map<Item, Kind | undefined>()

  constructor(program: Program, strict: boolean) {
    this.#program = program
    this.#names = new Names(program)
    this.#strict = strict
  }

  isPure(loaded: Loaded): boolean {
    const { module } = loaded
    return module.format !== "commonjs" && module.items.every(item => this.isPureItem(loaded, item))
  }

  isPureItem(loaded: Loaded, item: Item): boolean {
    return this.#item(loaded, item) !== undefined
  }

  /** What counts of an item: a stage's terms of scheduling do not, where evaluating them does nothing. */
  renditionOf(loaded: Loaded, item: Item): Rendition {
    const { unscheduled } = item
    if (unscheduled === undefined) return item
    const at = { loaded, before: item.index, scope: nothing, depth: 0 }
    const isStage = this.#names.libraryPath(at, unscheduled.callee)?.join(".") === "Stage.make"
    return isStage && this.#all(at, unscheduled.left) !== undefined ? unscheduled : item
  }

  /** The kind of what an item binds; undefined when evaluating it may do something. */
  #item(loaded: Loaded, item: Item): Kind | undefined {
    if (this.#items.has(item)) return this.#items.get(item)
    // One that is asked for while it is looked at refers to itself.
    this.#items.set(item, undefined)
    const given = this.#itemKind({ loaded, before: item.index, scope: nothing, depth: 0 }, item)
    const isAssigned = item.names.some(name => loaded.module.assigned.has(name))
    const kind = isAssigned && given !== undefined ? "opaque" : given
    this.#items.set(item, kind)
    return kind
  }

  #itemKind(at: At, { kind, names, node }: Item): Kind | undefined {
    switch (kind) {
      case "function":
        return "function"
      case "class":
        return this.#classKind(at, node)
      case "default":
        return this.#kind(at, node)
      case "const":
      case "let": {
        const init = node["init"]
        const pattern = node["id"] as Node
        if (pattern.type === "ArrayPattern" && isNode(init)) return this.#unpacked(at, pattern, bare(init))
        if (names.length !== 1 || pattern.type !== "Identifier") return undefined
        const value = isNode(init) ? this.#kind(at, init) : "plain"
        // What may be assigned again is not known.
        return value === undefined ? undefined : kind === "let" ? "opaque" : value
      }
      case "statement":
        return node.type === "ExpressionStatement" &&
          isNode(node["expression"]) &&
          literalText(node["expression"]) !== undefined
          ? "plain"
          : undefined
    }
  }

  /** `const [a, b] = [1, 2]` */
  #unpacked(at: At, pattern: Node, init: Node): Kind | undefined {
    const isSimple =
      init.type === "ArrayExpression" &&
      (pattern["elements"] as ReadonlyArray<Node | null>).every(each => each?.type === "Identifier") &&
      (init["elements"] as ReadonlyArray<Node | null>).every(each => each !== null && each.type !== "SpreadElement")
    return isSimple ? this.#all(at, init["elements"] as ReadonlyArray<Node>) : undefined
  }

  #classKind(at: At, node: Node): Kind | undefined {
    if ((node["decorators"] as ReadonlyArray<unknown> | undefined)?.length) return undefined
    const parent = isNode(node["superClass"]) ? this.#kind(at, node["superClass"]) : "class"
    if (parent !== "class" && parent !== "library" && parent !== "static") return undefined
    let hasStatic = false
    for (const member of (node["body"] as Node)["body"] as ReadonlyArray<Node>) {
      if (isErased(member)) continue
      if (member.type === "StaticBlock" || (member["decorators"] as ReadonlyArray<unknown> | undefined)?.length)
        return undefined
      if (member["computed"] === true && this.#kind(at, member["key"] as Node) !== "plain") return undefined
      hasStatic ||= member["static"] === true
      const isStaticField = member.type !== "MethodDefinition" && member["static"] === true
      if (isStaticField && isNode(member["value"]) && this.#kind(at, member["value"]) === undefined) return undefined
    }
    return hasStatic ? "static" : parent
  }

  #kind(at: At, given: Node): Kind | undefined {
    const node = bare(given)
    switch (node.type) {
      case "Literal":
        if (node["regex"] !== undefined) return "data"
        // A big integer beside a number makes an operator fail.
        return node["bigint"] === undefined ? "plain" : "opaque"
      case "ArrowFunctionExpression":
      case "FunctionExpression":
      case "FunctionDeclaration":
        return "function"
      case "ClassExpression":
      case "ClassDeclaration":
        return this.#classKind(at, node)
      case "TemplateLiteral":
        return this.#all(at, node["expressions"] as ReadonlyArray<Node>) === "plain" ? "plain" : undefined
      case "TaggedTemplateExpression": {
        const tag = bare(node["tag"] as Node)
        const isRaw =
          tag.type === "MemberExpression" && identifierName(tag["object"]) === "String" && memberName(tag) === "raw"
        return isRaw && !this.#names.isBound(at, "String") ? this.#kind(at, node["quasi"] as Node) : undefined
      }
      case "UnaryExpression":
        return node["operator"] !== "delete" && this.#kind(at, node["argument"] as Node) === "plain"
          ? "plain"
          : undefined
      case "BinaryExpression":
        return !["in", "instanceof"].includes(node["operator"] as string) &&
          this.#all(at, [node["left"] as Node, node["right"] as Node]) === "plain"
          ? "plain"
          : undefined
      case "LogicalExpression":
        return this.#either(at, [node["left"] as Node, node["right"] as Node])
      case "ConditionalExpression":
        return this.#kind(at, node["test"] as Node) === undefined
          ? undefined
          : this.#either(at, [node["consequent"] as Node, node["alternate"] as Node])
      case "ArrayExpression": {
        const elements = (node["elements"] as ReadonlyArray<Node | null>).filter(each => each !== null)
        return this.#dataOf(elements.map(each => this.#element(at, each)))
      }
      case "ObjectExpression":
        return this.#dataOf((node["properties"] as ReadonlyArray<Node>).map(each => this.#property(at, each)))
      case "Identifier":
        return this.#name(at, node["name"] as string)
      case "MemberExpression":
        return this.#member(at, node)
      case "ChainExpression":
        return this.#kind(at, node["expression"] as Node)
      case "CallExpression":
        return this.#call(at, node)
      case "NewExpression":
        return this.#construct(at, node)
      default:
        return undefined
    }
  }

  /** `plain` when all are; `opaque` when all are known; undefined when one has effects. */
  #all(at: At, nodes: ReadonlyArray<Node>): "plain" | "opaque" | undefined {
    const kinds = nodes.map(node => this.#kind(at, node))
    return kinds.includes(undefined) ? undefined : kinds.every(kind => kind === "plain") ? "plain" : "opaque"
  }

  #either(at: At, nodes: ReadonlyArray<Node>): Kind | undefined {
    const kinds = nodes.map(node => this.#kind(at, node))
    return kinds.includes(undefined) ? undefined : kinds.every(kind => kind === kinds[0]) ? kinds[0] : "opaque"
  }

  #dataOf(kinds: ReadonlyArray<Kind | undefined>): Kind | undefined {
    return kinds.includes(undefined) ? undefined : kinds.some(isUnknown) ? "opaque" : "data"
  }

  #element(at: At, node: Node): Kind | undefined {
    if (node.type !== "SpreadElement") return this.#kind(at, node)
    return this.#kind(at, node["argument"] as Node) === "data" ? "data" : undefined
  }

  #property(at: At, node: Node): Kind | undefined {
    // Spreading reads every member.
    if (node.type === "SpreadElement") {
      const kind = this.#kind(at, node["argument"] as Node)
      return kind === "data" || kind === "library" ? kind : undefined
    }
    if (node["kind"] !== "init") return undefined
    const key = node["key"] as Node
    if (
      node["computed"] === true
        ? this.#kind(at, key) !== "plain"
        : (identifierName(key) ?? literalText(key)) === "__proto__"
    )
      return undefined
    return this.#kind(at, node["value"] as Node)
  }

  #name(at: At, name: string): Kind | undefined {
    const local = at.scope.get(name)
    if (local !== undefined) return local
    const { imports, items } = at.loaded.module
    if (!imports.has(name) && !items.some(item => item.names.includes(name)))
      return name === "undefined" || name === "NaN" || name === "Infinity"
        ? "plain"
        : constructors.has(name)
          ? "class"
          : undefined
    return this.#joined(this.#program.local(at.loaded, name), at)
  }

  #joined(origins: ReadonlyArray<Origin>, at: At): Kind | undefined {
    const [origin, ...more] = origins
    return origin === undefined || more.length > 0 ? undefined : this.#origin(origin, at)
  }

  #origin(origin: Origin, at: At): Kind | undefined {
    switch (origin._tag) {
      case "item": {
        const { item, loaded } = origin
        const isHere = loaded === at.loaded
        // Used before it is initialised, it throws.
        if (isHere && item.kind !== "function" && item.index >= at.before) return undefined
        const kind = this.#item(loaded, item)
        // A module with effects counts as a whole: its value is there, and nobody knows what was done to it.
        if (kind === undefined) return isHere ? undefined : "opaque"
        return kind === "data" && this.#strict ? "opaque" : kind
      }
      case "ours":
        return "library"
      case "package":
        return this.#program.isEffect(origin) ? "library" : "opaque"
      default:
        return "opaque"
    }
  }

  #member(at: At, node: Node): Kind | undefined {
    const object = bare(node["object"] as Node)
    if (isImportMeta(object))
      return ["url", "dirname", "filename"].includes(memberName(node) ?? "") ? "plain" : undefined
    const name = memberName(node)
    if (name === undefined) return undefined
    const holder = identifierName(object)
    // A variable of the environment is a text, or is not there.
    if (
      object.type === "MemberExpression" &&
      memberName(object) === "env" &&
      this.#names.isGlobal(at, object["object"], "process")
    )
      return "plain"
    if (holder !== undefined && !this.#names.isBound(at, holder)) {
      if (isTypedArray(holder) && name === "BYTES_PER_ELEMENT") return "plain"
      if (numberHolders.has(holder)) {
        const type = typeof (globalThis as unknown as Record<string, Record<string, unknown>>)[holder]![name]
        return type === "number" ? "plain" : type === "function" ? "function" : undefined
      }
    }
    const origins = this.#names.namespaceMember(at, object, name)
    if (origins !== undefined) return this.#joined(origins, at)
    switch (this.#kind(at, object)) {
      case "library":
        return "library"
      case "data":
        return "opaque"
      default:
        return undefined
    }
  }

  #call(at: At, node: Node): Kind | undefined {
    const callee = bare(node["callee"] as Node)
    const values = node["arguments"] as ReadonlyArray<Node>
    const kinds = values.map(each => (each.type === "SpreadElement" ? undefined : this.#kind(at, each)))
    if (kinds.includes(undefined)) return undefined
    const known = kinds as ReadonlyArray<Kind>
    const path = this.#names.libraryPath(at, callee)
    if (path !== undefined && isPureCall(path, known.includes("function") || known.includes("class")))
      return known.some(isUnknown) ? undefined : "library"
    if (callee.type === "CallExpression") {
      const inner = this.#names.libraryPath(at, callee["callee"] as Node)
      if (inner !== undefined && isPureCurriedCall(inner))
        return this.#kind(at, callee) === "library" && !known.some(isUnknown) ? "library" : undefined
    }
    if (callee.type === "MemberExpression") {
      const name = memberName(callee)
      if (name !== undefined && pureMethods.has(name) && this.#kind(at, callee["object"] as Node) === "library") {
        if (name === "pipe") return values.every(value => this.#isPurePiped(at, bare(value))) ? "library" : undefined
        const isData = (kind: Kind) => kind === "data" && name.startsWith("annotate")
        return known.every(kind => kind === "library" || kind === "plain" || isData(kind)) ? "library" : undefined
      }
      const holder = identifierName(callee["object"])
      // Modules with effects may have replaced what the language offers.
      if (holder !== undefined && !this.#strict && !this.#names.isBound(at, holder)) {
        if (holder === "Math" && name !== "random" && known.every(kind => kind === "plain")) return "plain"
        if (holder === "Object" && name === "freeze" && known.every(kind => kind === "data" || kind === "plain"))
          return known[0]
      }
    }
    if (this.#names.isOfNode(at, callee))
      return known.every(kind => kind === "plain" || kind === "data") ? "plain" : undefined
    const converts =
      !this.#strict && ["Number", "String", "Boolean"].some(name => this.#names.isGlobal(at, callee, name))
    if (converts && known.every(kind => kind === "plain")) return "plain"
    if (
      !this.#strict &&
      identifierName(callee) === "Symbol" &&
      !this.#names.isBound(at, "Symbol") &&
      known.every(kind => kind === "plain")
    )
      return "opaque"
    return this.#ownCall(at, callee, known)
  }

  /** A library's function, or what one of its functions returned, that only declares when it is called. */
  #isPurePiped(at: At, value: Node): boolean {
    const path = this.#names.libraryPath(at, value.type === "CallExpression" ? (value["callee"] as Node) : value)
    return path !== undefined && isPurePiped(path)
  }

  /** A call of a function whose body is only constants and a result. */
  #ownCall(at: At, callee: Node, values: ReadonlyArray<Kind>): Kind | undefined {
    if (at.depth >= deepest) return undefined
    const found = this.#names.functionAt(at, callee)
    if (found === undefined) return undefined
    const { body, loaded, node } = found
    const before = loaded === at.loaded ? at.before : Number.POSITIVE_INFINITY
    const scope = new Map<string, Kind>(loaded === at.loaded && found.inline ? at.scope : nothing)
    const parameters = node["params"] as ReadonlyArray<Node>
    for (const [i, parameter] of parameters.entries()) {
      const name = identifierName(parameter)
      if (name === undefined) return undefined
      scope.set(name, values[i] ?? "plain")
    }
    const inside = (): At => ({ loaded, before, scope, depth: at.depth + 1 })
    if (body.type !== "BlockStatement") return this.#kind(inside(), body)
    for (const statement of body["body"] as ReadonlyArray<Node>) {
      if (isErased(statement)) continue
      if (statement.type === "ReturnStatement")
        return isNode(statement["argument"]) ? this.#kind(inside(), statement["argument"]) : "plain"
      if (statement.type !== "VariableDeclaration" || statement["kind"] !== "const") return undefined
      for (const declarator of statement["declarations"] as ReadonlyArray<Node>) {
        const name = identifierName(declarator["id"])
        const kind = isNode(declarator["init"]) ? this.#kind(inside(), declarator["init"]) : undefined
        if (name === undefined || kind === undefined) return undefined
        scope.set(name, kind)
      }
    }
    return "plain"
  }

  #construct(at: At, node: Node): Kind | undefined {
    const name = identifierName(node["callee"])
    const values = node["arguments"] as ReadonlyArray<Node>
    if (name === undefined || this.#names.isBound(at, name)) return undefined
    const [first, ...more] = values
    if (collections.has(name) || codecs.has(name) || name === "ArrayBuffer") if (first === undefined) return "opaque"
    if (first === undefined || first.type === "SpreadElement" || this.#strict) return undefined
    const given = bare(first)
    if (name === "URL") {
      const [base, ...others] = more
      const isBeside =
        base !== undefined && others.length === 0 && isImportMeta(bare((bare(base)["object"] ?? base) as Node))
      return isBeside && this.#kind(at, given) === "plain" && this.#kind(at, base) === "plain" ? "data" : undefined
    }
    if (name === "TextDecoder")
      return /^utf-?8$/.test(literalText(given) ?? "") && this.#all(at, more) !== undefined ? "opaque" : undefined
    if (name === "DataView")
      return given.type === "NewExpression" && more.length === 0 && identifierName(given["callee"]) === "ArrayBuffer"
        ? this.#kind(at, given)
        : undefined
    if (more.length > 0 || this.#kind(at, given) === undefined) return undefined
    // Of members that are written out.
    if (isTypedArray(name))
      return given.type === "Literal" ||
        (given.type === "ArrayExpression" && this.#all(at, given["elements"] as ReadonlyArray<Node>) === "plain")
        ? "opaque"
        : undefined
    return (name === "Map" || name === "Set") && given.type === "ArrayExpression" && this.#hasNoHoles(given, name)
      ? "opaque"
      : undefined
  }

  #hasNoHoles(list: Node, name: string): boolean {
    return (
      name === "Set" ||
      (bare(list)["elements"] as ReadonlyArray<Node | null>).every(
        each => each !== null && bare(each).type === "ArrayExpression"
      )
    )
  }
}
