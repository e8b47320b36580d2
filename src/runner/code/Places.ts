/** Files that code names by a path relative to its own module: workers, programs, data. */
import { dirname, join, relative, resolve, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import {
  assignmentOf,
  bare,
  eachNode,
  identifierName,
  isImportMeta,
  isNode,
  literalTexts,
  memberName,
  type Node
} from "./Syntax.ts"

/** Values that a path goes through unchanged, by the name of what is called. */
const same = new Set(["fileURLToPath", "pathToFileURL", "String", "realpathSync", "normalize"])
/** Steps that one expression may take: in code that a tool wrote, a name can stand for very much. */
const most = 300

/**
 * What an expression can name, as far as its text tells. Names are taken as they are anywhere in the module, and functions by their name alone: what is
 * found too much is only one more file that counts.
 */
export class Places {
  readonly #path: string
  #left = 0
  readonly #values = new Map<string, Array<Node>>()

  constructor(path: string, body: ReadonlyArray<Node>) {
    this.#path = path
    eachNode(body, node => {
      const [to, value] = assignmentOf(node)
      const name = identifierName(to)
      if (name === undefined || !isNode(value)) return
      const known = this.#values.get(name)
      if (known === undefined) this.#values.set(name, [value])
      else known.push(value)
    })
  }

  /** Specifiers of files that an expression names, relative to the module; itself and its folder left out. */
  specifiers(node: Node): ReadonlyArray<string> {
    if (!/^(?:CallExpression|NewExpression|BinaryExpression|TemplateLiteral)$/.test(node.type)) return []
    this.#left = most
    const found = this.#paths(node).filter(path => path !== this.#path)
    const specifiers = found.map(path => relative(dirname(this.#path), path).split(sep).join("/"))
    return [...new Set(specifiers)].filter(specifier => specifier !== "")
  }

  #paths(given: Node): ReadonlyArray<string> {
    if (this.#left-- <= 0) return []
    const node = bare(given)
    const inside = (value: unknown) => (isNode(value) ? this.#paths(value) : [])
    switch (node.type) {
      case "Identifier": {
        const name = node["name"] as string
        if (name === "__dirname") return [dirname(this.#path)]
        if (name === "__filename") return [this.#path]
        return (this.#values.get(name) ?? []).flatMap(inside)
      }
      case "MemberExpression": {
        const member = memberName(node) ?? ""
        const object = bare(node["object"] as Node)
        if (!isImportMeta(object)) return ["pathname", "href"].includes(member) ? inside(object) : []
        return member === "dirname"
          ? [dirname(this.#path)]
          : member === "url" || member === "filename"
            ? [this.#path]
            : []
      }
      case "BinaryExpression":
        return this.#appended(inside(node["left"]), [this.#texts(node["right"])])
      case "TemplateLiteral": {
        const [first, ...more] = node["expressions"] as ReadonlyArray<Node>
        const [before, ...after] = node["quasis"] as ReadonlyArray<{ readonly value: { readonly cooked: string } }>
        if (before!.value.cooked !== "") return []
        const parts = after.flatMap(({ value }, i) => [
          [value.cooked],
          ...(more[i] === undefined ? [] : [this.#texts(more[i])])
        ])
        return this.#appended(inside(first), parts)
      }
      case "NewExpression": {
        const [path, base] = node["arguments"] as ReadonlyArray<Node>
        if (identifierName(node["callee"]) !== "URL" || base === undefined) return []
        // A base that is not understood may be the module.
        const bases = inside(base)
        return this.#texts(path).flatMap(text =>
          (bases.length > 0 ? bases : [this.#path]).flatMap(from => atUrl(text, from))
        )
      }
      case "CallExpression":
        return this.#called(node, inside)
      case "ConditionalExpression":
        return [...inside(node["consequent"]), ...inside(node["alternate"])]
      case "LogicalExpression":
        return [...inside(node["left"]), ...inside(node["right"])]
      default:
        return []
    }
  }

  #called(node: Node, inside: (value: unknown) => ReadonlyArray<string>): ReadonlyArray<string> {
    const callee = bare(node["callee"] as Node)
    const name = callee.type === "MemberExpression" ? memberName(callee) : identifierName(callee)
    const [first, ...rest] = node["arguments"] as ReadonlyArray<Node>
    if (callee.type === "MemberExpression" && name === "toString") return inside(callee["object"])
    if (name === "dirname") return inside(first).map(path => dirname(path))
    if (name === "join" || name === "resolve")
      return rest.reduce<ReadonlyArray<string>>((paths, part) => {
        const texts = this.#texts(part)
        return paths.flatMap(path => texts.map(text => (name === "join" ? join(path, text) : resolve(path, text))))
      }, inside(first))
    return name !== undefined && same.has(name) ? inside(first) : []
  }

  /** All that is put behind a path, text after text. */
  #appended(paths: ReadonlyArray<string>, parts: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> {
    return parts.reduce((all, texts) => all.flatMap(path => texts.map(text => path + text)), paths)
  }

  /** The texts that an expression can be; where that is not known, those that are written in it. */
  #texts(given: unknown): ReadonlyArray<string> {
    if (!isNode(given) || this.#left-- <= 0) return []
    const node = bare(given)
    const known = literalTexts(node)
    if (known !== undefined) return known
    const name = identifierName(node)
    if (name !== undefined) return (this.#values.get(name) ?? []).flatMap(value => this.#texts(value))
    return Object.values(node)
      .flat()
      .flatMap(child => this.#texts(child))
  }
}

const atUrl = (text: string, base: string): ReadonlyArray<string> => {
  const url = URL.parse(text, pathToFileURL(base).href)
  if (url?.protocol !== "file:") return []
  try {
    return [fileURLToPath(url)]
  } catch {
    return []
  }
}
