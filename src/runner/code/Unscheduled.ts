/** A declared stage without what it asks of whoever runs it: how long it may take decides nothing of what it computes. */
import { schedulingOptions } from "../../pipeline/Scheduling.ts"
import { bare, identifierName, isNode, literalText, type Node } from "./Syntax.ts"

export interface Unscheduled {
  /** The declaration without these options. */
  readonly node: Node
  /** What is called: only of `Stage.make` is it known that nobody sees the options. */
  readonly callee: Node
  /** Values of the options that are left out. */
  readonly left: ReadonlyArray<Node>
}

/** For a call with a name and options that are written out, some of which may be left out. */
export const withoutScheduling = (node: Node): Unscheduled | undefined => {
  if (node.type === "VariableDeclarator") {
    const inner = isNode(node["init"]) ? withoutScheduling(bare(node["init"])) : undefined
    return inner === undefined ? undefined : { ...inner, node: { ...node, init: inner.node } }
  }
  if (node.type !== "CallExpression") return undefined
  const [name, given, ...more] = node["arguments"] as ReadonlyArray<Node>
  const options = given === undefined ? undefined : bare(given)
  if (options?.type !== "ObjectExpression" || more.length > 0) return undefined
  const properties = options["properties"] as ReadonlyArray<Node>
  const left = properties.filter(isScheduling)
  if (left.length === 0) return undefined
  const kept = { ...options, properties: properties.filter(property => !left.includes(property)) }
  return {
    node: { ...node, arguments: [name, kept] },
    callee: bare(node["callee"] as Node),
    left: left.map(property => property["value"] as Node)
  }
}

const isScheduling = (property: Node): boolean => {
  if (property.type !== "Property" || property["kind"] !== "init" || property["computed"] === true) return false
  const key = property["key"] as Node
  return schedulingOptions.has(identifierName(key) ?? literalText(key) ?? "")
}
