/** What statements bind and assign, and whether they wait, outside of any function. */
import { bare, eachNode, isNode, type Node } from "./Syntax.ts"

/** All names that a pattern binds. */
export const patternNames = (given: unknown): ReadonlyArray<string> => {
  if (!isNode(given)) return []
  const pattern = bare(given)
  switch (pattern.type) {
    case "Identifier":
      return [pattern["name"] as string]
    case "ObjectPattern":
      return (pattern["properties"] as ReadonlyArray<Node>).flatMap(property =>
        patternNames(property.type === "Property" ? property["value"] : property["argument"])
      )
    case "ArrayPattern":
      return (pattern["elements"] as ReadonlyArray<unknown>).flatMap(patternNames)
    case "AssignmentPattern":
      return patternNames(pattern["left"])
    case "RestElement":
      return patternNames(pattern["argument"])
    default:
      return []
  }
}

export const assignedIn = (body: ReadonlyArray<Node>): ReadonlySet<string> => {
  const names = new Set<string>()
  eachNode(body, ({ argument, left, type }) => {
    const target =
      type === "UpdateExpression"
        ? argument
        : /^(?:AssignmentExpression|For(?:In|Of)Statement)$/.test(type)
          ? left
          : undefined
    if (isNode(target)) for (const name of patternNames(bare(target))) names.add(name)
  })
  return names
}

/** Whether something outside of any function is of a kind. */
export const hasAtTop = (value: unknown, is: (node: Node) => boolean): boolean => {
  if (Array.isArray(value)) return value.some(each => hasAtTop(each, is))
  if (!isNode(value)) return false
  if (is(value)) return true
  if (value.type.includes("Function") || value.type === "MethodDefinition") return false
  return Object.values(value).some(each => hasAtTop(each, is))
}

export const waits = (node: Node): boolean =>
  node.type === "AwaitExpression" || (node.type === "ForOfStatement" && node["await"] === true)

export const assigns = (node: Node): boolean =>
  node.type === "AssignmentExpression" ||
  node.type === "UpdateExpression" ||
  (node.type === "UnaryExpression" && node["operator"] === "delete")
