/** The canonical text of code: what is left of a syntax tree without comments, layout, types and dead branches, and what that refers to. */

/** A node of the syntax tree (ESTree, with TypeScript's nodes). */
export interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [field: string]: unknown
}

/** A module that code loads while it runs. */
export interface Load {
  readonly kind: "import" | "require" | "url"
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
}

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as Node).type === "string"

const ignored = new Set([
  "type",
  "start",
  "end",
  "range",
  "loc",
  "raw",
  "typeAnnotation",
  "returnType",
  "typeParameters",
  "typeArguments",
  "superTypeArguments",
  "implements",
  "definite",
  "declare",
  "accessibility",
  "abstract",
  "override",
  "readonly",
  "importKind",
  "exportKind"
])

/** Nodes around an expression that types add. */
const wrappers = new Set([
  "TSAsExpression",
  "TSSatisfiesExpression",
  "TSNonNullExpression",
  "TSTypeAssertion",
  "TSInstantiationExpression",
  "ParenthesizedExpression"
])

/** What Node's type stripping leaves nothing of. Enums and the like stay: Node refuses to load them. */
const erased = new Set([
  "TSInterfaceDeclaration",
  "TSTypeAliasDeclaration",
  "TSDeclareFunction",
  "TSIndexSignature",
  "TSAbstractMethodDefinition",
  "TSAbstractPropertyDefinition",
  "TSAbstractAccessorProperty",
  "TSNamespaceExportDeclaration",
  "TSGlobalDeclaration",
  "EmptyStatement"
])

/** An expression without what types add around it. */
export const bare = (node: Node): Node => (wrappers.has(node.type) ? bare(node["expression"] as Node) : node)

export const isErased = (node: Node): boolean =>
  erased.has(node.type) ||
  node["declare"] === true ||
  (node.type === "MethodDefinition" && (node["value"] as Node).type === "TSEmptyBodyFunctionExpression")

export const emptyReferences = (): References => ({ names: new Map(), loads: [], computed: [], usesPlace: false })

/** The text of a string, or of a template without expressions. */
export const literalText = (node: Node): string | undefined => {
  const { type } = node
  if (type === "Literal" && typeof node["value"] === "string") return node["value"]
  if (type === "TemplateLiteral" && (node["expressions"] as ReadonlyArray<Node>).length === 0) {
    const [quasi] = node["quasis"] as ReadonlyArray<{ readonly value: { readonly cooked: string | null } }>
    return quasi?.value.cooked ?? undefined
  }
  return undefined
}

/** All strings that an expression can be, when it can only be one of some. */
const literalTexts = (node: Node): ReadonlyArray<string> | undefined => {
  const text = literalText(node)
  if (text !== undefined) return [text]
  if (node.type !== "ConditionalExpression") return undefined
  const a = literalTexts(bare(node["consequent"] as Node))
  const b = literalTexts(bare(node["alternate"] as Node))
  return a === undefined || b === undefined ? undefined : [...a, ...b]
}

export const identifierName = (node: unknown): string | undefined =>
  isNode(node) && node.type === "Identifier" ? (node["name"] as string) : undefined

/** The name of a member that is written in the text. */
export const memberName = (node: Node): string | undefined => {
  const property = node["property"] as Node
  return node["computed"] === true ? literalText(property) : identifierName(property)
}

export const isImportMeta = (node: Node): boolean =>
  node.type === "MetaProperty" && identifierName(node["meta"]) === "import"

/** A call of `createRequire`, however it was imported. */
export const isCreateRequire = (node: Node, makers: ReadonlySet<string>): boolean => {
  if (node.type !== "CallExpression") return false
  const callee = bare(node["callee"] as Node)
  return callee.type === "MemberExpression"
    ? memberName(callee) === "createRequire"
    : makers.has(identifierName(callee) ?? "")
}

const isOwnFolder = (node: Node): boolean =>
  identifierName(node) === "__dirname" ||
  (node.type === "MemberExpression" && isImportMeta(bare(node["object"] as Node)) && memberName(node) === "dirname")

/** A path that is written as the module's folder and what follows; relative to it. */
const pathBelow = (node: Node): string | undefined => {
  if (node.type === "BinaryExpression" && node["operator"] === "+" && isOwnFolder(bare(node["left"] as Node))) {
    const rest = literalText(bare(node["right"] as Node))
    return rest === undefined ? undefined : `.${rest}`
  }
  if (node.type === "TemplateLiteral") {
    const [first, ...more] = node["expressions"] as ReadonlyArray<Node>
    const [before, after] = node["quasis"] as ReadonlyArray<{ readonly value: { readonly cooked: string } }>
    return first !== undefined && more.length === 0 && before!.value.cooked === "" && isOwnFolder(bare(first))
      ? `.${after!.value.cooked}`
      : undefined
  }
  if (node.type !== "CallExpression") return undefined
  const [first, ...rest] = (node["arguments"] as ReadonlyArray<Node>).map(bare)
  const texts = rest.map(literalText)
  return first !== undefined && isOwnFolder(first) && texts.length > 0 && !texts.includes(undefined)
    ? `./${texts.join("/")}`
    : undefined
}

/** Whether `createRequire` resolves from the module that calls it. */
const isOfThisModule = (call: Node): boolean => {
  const [base] = call["arguments"] as ReadonlyArray<Node>
  if (base === undefined) return false
  const from = bare(base)
  return (
    (from.type === "MemberExpression" &&
      isImportMeta(bare(from["object"] as Node)) &&
      ["url", "filename"].includes(memberName(from) ?? "")) ||
    identifierName(from) === "__filename"
  )
}

/** A literal's truth, where it is known from the text. */
const truth = (node: Node): boolean | undefined => {
  const test = bare(node)
  if (test.type === "Literal" && (test["value"] === null ? test["regex"] === undefined : true))
    return test["bigint"] === undefined && test["regex"] === undefined ? Boolean(test["value"]) : undefined
  if (test.type === "UnaryExpression" && test["operator"] === "!") {
    const inner = truth(test["argument"] as Node)
    return inner === undefined ? undefined : !inner
  }
  return undefined
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
    // A worker, or a program of the stage's own, is named by a URL relative to the module.
    if (call.type === "NewExpression" && called === "URL" && first !== undefined) {
      for (const text of stringsIn(first))
        if (!/^[a-z][a-z0-9+.-]+:/i.test(text))
          references.loads.push({ kind: "url", specifier: /^\.{0,2}\//.test(text) ? text : `./${text}` })
    }
  }

  const visitCallee = (value: Node): string => {
    const callee = bare(value)
    const called = identifierName(callee)
    if (called !== undefined && context.makers.has(called)) {
      name(called)
      return called
    }
    // As the function that is called, or asked where something lies, `require` stays what it is.
    if (called !== undefined && context.requires.has(called)) return `(require ${JSON.stringify(called)})`
    if (callee.type === "MemberExpression") {
      const object = identifierName(bare(callee["object"] as Node))
      if (object !== undefined && context.requires.has(object))
        return `(require ${object}.${memberName(callee) ?? "?"})`
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
    const below = pathBelow(node)
    if (below !== undefined) references.loads.push({ kind: "url", specifier: below })
    switch (node.type) {
      case "Identifier": {
        const text = node["name"] as string
        if (context.requires.has(text) || context.makers.has(text) || text === "eval" || text === "Function")
          references.computed.push(node.start)
        if (text === "__filename" || text === "__dirname") references.usesPlace = true
        name(text)
        return text
      }
      case "MemberExpression": {
        const object = identifierName(bare(node["object"] as Node))
        const member = memberName(node)
        if (object !== undefined && member !== undefined && !context.requires.has(object)) {
          name(object, member)
          return `(${object}${node["optional"] === true ? "?." : "."}${JSON.stringify(member)})`
        }
        break
      }
      case "VariableDeclarator":
        // What `createRequire` returned is known by its name; only the calls of it count.
        if (
          node["init"] !== null &&
          isCreateRequire(bare(node["init"] as Node), context.makers) &&
          identifierName(node["id"]) !== undefined
        )
          return `(createRequire ${identifierName(node["id"])} ${visit(node["init"] as Node)})`
        break
      case "UnaryExpression": {
        const asked = identifierName(bare(node["argument"] as Node))
        if (node["operator"] === "typeof" && asked !== undefined && context.requires.has(asked))
          return `(typeof ${asked})`
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

/** All strings of an expression. */
const stringsIn = (value: unknown): ReadonlyArray<string> => {
  if (Array.isArray(value)) return value.flatMap(stringsIn)
  if (!isNode(value)) return []
  const text = literalText(value)
  return text !== undefined ? [text] : Object.values(value).flatMap(stringsIn)
}
