/** The canonical text of code: what is left of a syntax tree without comments, layout, types and dead branches, and what that refers to. */
import type { Places } from "./Places.ts"
import {
  bare,
  identifierName,
  ignored,
  isCreateRequire,
  isErased,
  isImportMeta,
  isNode,
  isOfThisModule,
  literalTexts,
  memberName,
  type Node
} from "./Syntax.ts"

/** A module that code loads while it runs, or a file that it names. */
export interface Load {
  readonly kind: "import" | "require" | "file"
  readonly specifier: string
}

/** What a piece of code refers to, in the order of its text. */
export interface References {
  /** Names that may be bound at the top level of the module; with the members that are read where only those are used. */
  readonly names: Map<string, Set<string> | "whole">
  readonly loads: Array<Load>
  /** Positions where something is loaded that the text does not name. */
  readonly computed: Array<number>
  /** Whether it knows where its file lies. */
  usesPlace: boolean
}

export interface TextContext {
  /** Names of `require` functions: Node's own in CommonJS, and what `createRequire` returned. */
  readonly requires: ReadonlySet<string>
  /** Names under which `createRequire` is known. */
  readonly makers: ReadonlySet<string>
  readonly commonJs: boolean
  readonly places: Places
}

export const emptyReferences = (): References => ({ names: new Map(), loads: [], computed: [], usesPlace: false })

/** A literal's truth, where it is known from the text. */
const truth = (node: Node): boolean | undefined => {
  const test = bare(node)
  if (test.type === "Literal" && (test["value"] === null ? test["regex"] === undefined : true))
    return test["bigint"] === undefined && test["regex"] === undefined ? Boolean(test["value"]) : undefined
  if (test.type !== "UnaryExpression" || test["operator"] !== "!") return undefined
  const inner = truth(test["argument"] as Node)
  return inner === undefined ? undefined : !inner
}

const leaves = new Set(["ReturnStatement", "ThrowStatement", "BreakStatement", "ContinueStatement"])

/** Whether a statement that is never reached still declares something in the scope around it. */
const declares = (value: unknown, top = true): boolean => {
  if (Array.isArray(value)) return value.some(each => declares(each, top))
  if (!isNode(value)) return false
  const { type } = value
  if (type === "VariableDeclaration") return top || value["kind"] === "var"
  if (type === "FunctionDeclaration" || type === "ClassDeclaration") return true
  if (type.includes("Function") || type.startsWith("Class")) return false
  return Object.entries(value).some(([field, child]) => !ignored.has(field) && declares(child, false))
}

/** Writes the canonical text of a node, and collects what the text refers to. */
export const textOf = (node: Node, context: TextContext, references: References): string => {
  const name = (text: string, member?: string) => {
    const known = references.names.get(text)
    if (member === undefined) references.names.set(text, "whole")
    else if (known === undefined) references.names.set(text, new Set([member]))
    else if (known !== "whole") known.add(member)
  }

  const loaded = (kind: Load["kind"], source: Node | undefined, at: number) => {
    const texts = source === undefined ? undefined : literalTexts(bare(source))
    if (texts === undefined) references.computed.push(at)
    else for (const specifier of texts) references.loads.push({ kind, specifier })
  }

  const noteCall = (call: Node) => {
    const callee = bare(call["callee"] as Node)
    const [first] = call["arguments"] as ReadonlyArray<Node>
    const called = identifierName(callee)
    if (called !== undefined && context.requires.has(called)) loaded("require", first, call.start)
    if (isCreateRequire(callee, context.makers)) loaded("require", first, call.start)
    if (callee.type === "MemberExpression" && memberName(callee) === "require") loaded("require", first, call.start)
    if (isCreateRequire(call, context.makers) && !isOfThisModule(call)) references.computed.push(call.start)
    if (callee.type === "MemberExpression" && memberName(callee) === "resolve") {
      const of = bare(callee["object"] as Node)
      if (isImportMeta(of)) loaded("import", first, call.start)
      else if (isCreateRequire(of, context.makers) || context.requires.has(identifierName(of) ?? ""))
        loaded("require", first, call.start)
    }
  }

  const visitCallee = (value: Node): string => {
    const callee = bare(value)
    const called = identifierName(callee)
    // As the function that is called, or asked where something lies, `require` stays what it is.
    if (called !== undefined && (context.makers.has(called) || context.requires.has(called))) {
      name(called)
      return called
    }
    if (callee.type === "MemberExpression") {
      const object = identifierName(bare(callee["object"] as Node))
      const member = memberName(callee)
      if (object !== undefined && member !== undefined && context.requires.has(object)) {
        // It answers with a path.
        references.usesPlace = true
        name(object, member)
        return `(require ${object}.${member})`
      }
    }
    return visit(value)
  }

  const statements = (list: ReadonlyArray<Node>): string => {
    const kept: Array<string> = []
    let dead = false
    for (const statement of list) {
      if (isErased(statement)) continue
      if (dead && !context.commonJs && !declares(statement)) continue
      kept.push(visit(statement))
      dead ||= leaves.has(statement.type)
    }
    return `[${kept.filter(text => text !== "").join(",")}]`
  }

  /** What is left of a branch; an expression keeps a mark: as a value it is not called with `this`, and names no function. */
  const branch = (type: string, taken: Node | null | undefined, dropped: unknown): string | undefined => {
    if (context.commonJs || declares(dropped, false)) return undefined
    if (taken === null || taken === undefined) return ""
    return type === "ConditionalExpression" ? `(value ${visit(taken)})` : visit(taken)
  }

  const folded = (node: Node): string | undefined => {
    switch (node.type) {
      case "IfStatement":
      case "ConditionalExpression": {
        const known = truth(node["test"] as Node)
        if (known === undefined) return undefined
        const [taken, dropped] = known ? ["consequent", "alternate"] : ["alternate", "consequent"]
        return branch(node.type, node[taken!] as Node | null, node[dropped!])
      }
      case "LogicalExpression": {
        const known = truth(node["left"] as Node)
        const operator = node["operator"] as string
        if (known === undefined || operator === "??") return undefined
        return `(value ${visit(node[(operator === "&&") === known ? "right" : "left"] as Node)})`
      }
      case "WhileStatement":
        return truth(node["test"] as Node) === false ? branch(node.type, undefined, node["body"]) : undefined
      default:
        return undefined
    }
  }

  /** Fields whose identifier is a label or a key, not a reference. */
  const isName = (parent: Node, field: string): boolean => {
    switch (parent.type) {
      case "MemberExpression":
        return field === "property" && parent["computed"] !== true
      case "Property":
      case "MethodDefinition":
      case "PropertyDefinition":
      case "AccessorProperty":
        return field === "key" && parent["computed"] !== true
      case "LabeledStatement":
      case "BreakStatement":
      case "ContinueStatement":
        return field === "label"
      case "MetaProperty":
      case "ImportAttribute":
        return true
      case "ImportSpecifier":
      case "ImportDefaultSpecifier":
      case "ImportNamespaceSpecifier":
      case "ExportAllDeclaration":
        return true
      case "ExportSpecifier":
        return field === "exported"
      default:
        return false
    }
  }

  const child = (parent: Node, field: string, value: unknown): string => {
    if (typeof value === "bigint") return `${value}n`
    if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value)
    if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined"
    if (Array.isArray(value)) {
      if (
        (field === "body" || field === "consequent") &&
        value.every(each => isNode(each)) &&
        parent.type !== "ClassBody"
      )
        return statements(value as ReadonlyArray<Node>)
      const items = value as ReadonlyArray<unknown>
      const kept = field === "params" ? items.filter(each => identifierName(each) !== "this") : items
      const real = kept.filter(each => !(isNode(each) && isErased(each)))
      return `[${real.map(each => child(parent, field, each)).join(",")}]`
    }
    if (!isNode(value))
      return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part))
    if (value.type === "Identifier" && isName(parent, field)) return JSON.stringify(value["name"])
    if (field === "callee" && parent.type !== "NewExpression") return visitCallee(value)
    return visit(value)
  }

  const visit = (given: Node): string => {
    const node = bare(given)
    if (isErased(node)) return ""
    const simpler = folded(node)
    if (simpler !== undefined) return simpler
    // A worker, a program or a file of the stage's own is named by a path relative to the module.
    for (const specifier of context.places.specifiers(node)) references.loads.push({ kind: "file", specifier })
    switch (node.type) {
      case "Identifier": {
        const text = node["name"] as string
        if (context.requires.has(text) || context.makers.has(text) || text === "eval" || text === "Function")
          references.computed.push(node.start)
        if (text === "__filename" || text === "__dirname") references.usesPlace = true
        // `module.filename`, and the arguments of the function around a module of CommonJS.
        if (context.commonJs && (text === "module" || text === "arguments")) references.usesPlace = true
        name(text)
        return text
      }
      case "MemberExpression": {
        const object = identifierName(bare(node["object"] as Node))
        const member = memberName(node)
        if (object !== undefined && member !== undefined && !context.requires.has(object)) {
          if (context.commonJs && object === "module" && member !== "exports") references.usesPlace = true
          name(object, member)
          return `(${object}${node["optional"] === true ? "?." : "."}${JSON.stringify(member)})`
        }
        break
      }
      case "VariableDeclarator": {
        // What `createRequire` returned is known by its name; only the calls of it count.
        const declared = identifierName(node["id"])
        if (declared === undefined || !context.requires.has(declared)) break
        const init = node["init"] as Node | null
        return `(${node.type} ${declared} ${init === null ? "" : visit(init)})`
      }
      case "AssignmentExpression": {
        const left = node["left"] as Node
        const right = node["right"] as Node
        const assigned = identifierName(bare(left))
        if (assigned === undefined) break
        // Behind a name in parentheses, a function gets no name.
        const mark = left.start === node.start ? "" : " parenthesized"
        if (!context.requires.has(assigned) || !isCreateRequire(bare(right), context.makers)) {
          return `(${node.type}${mark} ${String(node["operator"])} ${visit(left)} ${visit(right)})`
        }
        name(assigned)
        return `(${node.type}${mark} ${String(node["operator"])} ${assigned} ${visit(right)})`
      }
      case "AssignmentPattern":
        if ((node["left"] as Node).start !== node.start)
          return `(${node.type} parenthesized ${visit(node["left"] as Node)} ${visit(node["right"] as Node)})`
        break
      case "UnaryExpression": {
        const asked = identifierName(bare(node["argument"] as Node))
        if (node["operator"] === "typeof" && asked !== undefined && context.requires.has(asked)) {
          name(asked)
          return `(typeof ${asked})`
        }
        break
      }
      case "ImportExpression":
        loaded("import", node["source"] as Node, node.start)
        break
      case "CallExpression":
      case "NewExpression":
        noteCall(node)
        break
      case "MetaProperty":
        if (isImportMeta(node)) references.usesPlace = true
        break
      default:
    }
    let text = `(${node.type}`
    for (const [field, value] of Object.entries(node)) {
      if (ignored.has(field) || value === null || value === false || value === undefined) continue
      if (field === "optional" && node.type !== "CallExpression" && node.type !== "MemberExpression") continue
      if (field === "decorators" && (value as ReadonlyArray<unknown>).length === 0) continue
      text += ` ${field}:${child(node, field, value)}`
    }
    // An expression that is null or a hole is not one that is absent.
    if (node.type === "Literal" && node["value"] === null) text += " null"
    if (node.type === "Literal" && node["value"] === false) text += " false"
    return `${text})`
  }

  return visit(node)
}
