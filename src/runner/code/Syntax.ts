/** The syntax tree of a module: what its nodes say, without what types add to them. */

/** A node of the syntax tree (ESTree, with TypeScript's nodes). */
export interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [field: string]: unknown
}

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as Node).type === "string"

/** Fields that say nothing about what code does. */
export const ignored = new Set([
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
export const literalTexts = (node: Node): ReadonlyArray<string> | undefined => {
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

/** Whether `createRequire` resolves from the module that calls it. */
export const isOfThisModule = (call: Node): boolean => {
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

export const eachNode = (value: unknown, look: (node: Node) => void): void => {
  if (Array.isArray(value)) for (const each of value) eachNode(each, look)
  else if (isNode(value)) {
    look(value)
    for (const child of Object.values(value)) if (typeof child === "object" && child !== null) eachNode(child, look)
  }
}

/** What a node declares or assigns, and the value. */
export const assignmentOf = (node: Node): readonly [to: unknown, value: unknown] =>
  node.type === "VariableDeclarator"
    ? [node["id"], node["init"]]
    : node.type === "AssignmentExpression"
      ? [node["left"], node["right"]]
      : [undefined, undefined]
