/** One module as its text says: what it declares, imports, exports and loads. */
import type * as Rolldown from "rolldown/utils"
import { Places } from "./Places.ts"
import {
  assignmentOf,
  bare,
  eachNode,
  identifierName,
  isCreateRequire,
  isErased,
  isImportMeta,
  isNode,
  type Node
} from "./Syntax.ts"
import { assignedIn, assigns, hasAtTop, patternNames, waits } from "./Assignments.ts"
import { type Unscheduled, withoutScheduling } from "./Unscheduled.ts"
import { emptyReferences, type References, textOf } from "./Text.ts"

/** What code says, and what that refers to. */
export interface Rendition {
  readonly text: string
  readonly references: References
}

/** A statement at the top level, or one declarator of it: what can be reached by itself. */
export interface Item extends Rendition {
  /** Place among the items of the module. */
  readonly index: number
  readonly names: ReadonlyArray<string>
  /** What counts of it if it is a call of `Stage.make`, and evaluating what is left out does nothing. */
  readonly unscheduled: (Rendition & Unscheduled) | undefined
  /** What declares: a function, a class, one declarator; or a statement that does something. */
  readonly node: Node
  readonly kind: "const" | "let" | "function" | "class" | "default" | "statement"
}

/** A name that another module gives: `*` is all of it. */
export interface Binding {
  readonly source: string
  readonly name: string
}

export interface Module {
  readonly path: string
  /** `file`: not a module of JavaScript, counted by its bytes. */
  readonly format: "esm" | "commonjs" | "json" | "file"
  readonly items: ReadonlyArray<Item>
  readonly imports: ReadonlyMap<string, Binding>
  /** What it exports under which name: something of its own, or of another module. */
  readonly exports: ReadonlyMap<string, { readonly local: string } | Binding>
  /** `export * from` */
  readonly stars: ReadonlyArray<string>
  /** Modules that Node loads before this one runs, in order, each once. */
  readonly requests: ReadonlyArray<string>
  /** Whether it waits at its top level; then other modules may run in between. */
  readonly waits: boolean
  /** Whether its text says that it does something when it is loaded: a statement that declares nothing, an assignment. */
  readonly acts: boolean
  /** Names that anything in it assigns to, after they were declared. */
  readonly assigned: ReadonlySet<string>
  /** The line of a position in it. */
  readonly line: (position: number) => number
}

const exportedName = (node: unknown): string => {
  const { name, value } = node as { readonly name?: string; readonly value?: string }
  return name ?? value ?? ""
}

export type Parse = typeof Rolldown.parseSync

/** Node's syntax detection, for a file whose package does not say its type. */
export type Format = "esm" | "commonjs" | "detect"

export const parseModule = (parse: Parse, path: string, text: string, format: Format): Module => {
  const typescript = /\.[cm]?ts$/.test(path)
  const attempt = (sourceType: "module" | "commonjs") =>
    parse(path, text, {
      lang: typescript ? "ts" : "js",
      astType: "ts",
      sourceType,
      preserveParens: false
    })
  let result = attempt(format === "commonjs" ? "commonjs" : "module")
  let body = (result.program as unknown as { readonly body: ReadonlyArray<Node> }).body
  let esm = format === "esm" || (format === "detect" && isModuleSyntax(body))
  if (!esm && format === "detect") {
    result = attempt("commonjs")
    // What is no script, but a module without imports (with `await` at its top), is a module.
    if (result.errors.length > 0) {
      result = attempt("module")
      esm = true
    }
    body = (result.program as unknown as { readonly body: ReadonlyArray<Node> }).body
  }
  const line = (position: number) => text.slice(0, position).split("\n").length
  const [error] = result.errors
  if (error !== undefined) {
    const at = error.labels[0]?.start
    throw new SyntaxError(`${path}${at === undefined ? "" : `:${line(at)}`}: ${error.message}`)
  }
  return esm ? esModule(path, body, line) : commonJsModule(path, body, line)
}

const isModuleSyntax = (body: ReadonlyArray<Node>): boolean => {
  let found = body.some(({ type }) => /^(?:Import|ExportNamed|ExportDefault|ExportAll)Declaration$/.test(type))
  if (!found) eachNode(body, node => (found ||= isImportMeta(node)))
  return found
}

/** Names under which `createRequire` is known anywhere in the module, and of the functions that it returned. */
const requiresOf = (body: ReadonlyArray<Node>): { readonly makers: Set<string>; readonly requires: Set<string> } => {
  const makers = new Set(["createRequire"])
  const requires = new Set<string>()
  eachNode(body, node => {
    const isImport = node.type === "ImportSpecifier" && exportedName(node["imported"]) === "createRequire"
    const isTaken = node.type === "Property" && identifierName(node["key"]) === "createRequire"
    const name = identifierName(isImport ? node["local"] : isTaken ? node["value"] : undefined)
    if (name !== undefined) makers.add(name)
  })
  eachNode(body, node => {
    const [to, value] = assignmentOf(node)
    const name = isNode(to) ? identifierName(bare(to)) : undefined
    if (name !== undefined && isNode(value) && isCreateRequire(bare(value), makers)) requires.add(name)
  })
  return { makers, requires }
}

const commonJsModule = (path: string, body: ReadonlyArray<Node>, line: Module["line"]): Module => {
  const program: Node = { type: "Program", start: 0, end: 0, body }
  const references = emptyReferences()
  const { makers, requires } = requiresOf(body)
  const text = textOf(
    program,
    { makers, requires: requires.add("require"), commonJs: true, places: new Places(path, body) },
    references
  )
  references.names.clear()
  return {
    path,
    format: "commonjs",
    items: [{ index: 0, names: [], text, references, unscheduled: undefined, node: program, kind: "statement" }],
    imports: new Map(),
    exports: new Map(),
    stars: [],
    requests: [],
    waits: false,
    acts: true,
    assigned: new Set(),
    line
  }
}

const esModule = (path: string, body: ReadonlyArray<Node>, line: Module["line"]): Module => {
  const items: Array<Item> = []
  const imports = new Map<string, Binding>()
  const exports = new Map<string, { readonly local: string } | Binding>()
  const stars: Array<string> = []
  const requests = new Set<string>()
  const context = { ...requiresOf(body), commonJs: false, places: new Places(path, body) }

  const add = (node: Node, names: ReadonlyArray<string>, kind: Item["kind"], prefix = "") => {
    const render = (of: Node): Rendition => {
      const references = emptyReferences()
      const text = prefix + textOf(of, context, references)
      // A name that an item declares is no reference to another.
      for (const name of names) references.names.delete(name)
      return { text, references }
    }
    const without = withoutScheduling(node)
    const unscheduled = without === undefined ? undefined : { ...without, ...render(without.node) }
    items.push({ index: items.length, names, ...render(node), unscheduled, node, kind })
  }

  const declare = (node: Node): ReadonlyArray<string> => {
    switch (node.type) {
      case "VariableDeclaration":
        return (node["declarations"] as ReadonlyArray<Node>).flatMap(declarator => {
          const names = patternNames(declarator["id"])
          const kind = node["kind"] as string
          add(declarator, names, kind === "const" ? "const" : kind.includes("using") ? "statement" : "let", `${kind} `)
          return names
        })
      case "FunctionDeclaration":
      case "ClassDeclaration": {
        const names = patternNames(node["id"])
        add(node, names, node.type === "FunctionDeclaration" ? "function" : "class")
        return names
      }
      default:
        add(node, patternNames(node["id"]), "statement")
        return patternNames(node["id"])
    }
  }

  for (const node of body) {
    if (isErased(node)) continue
    switch (node.type) {
      case "ImportDeclaration": {
        if (node["importKind"] === "type") break
        const source = sourceOf(node)
        requests.add(source)
        for (const specifier of node["specifiers"] as ReadonlyArray<Node>) {
          if (specifier["importKind"] === "type") continue
          const name =
            specifier.type === "ImportSpecifier"
              ? exportedName(specifier["imported"])
              : specifier.type === "ImportDefaultSpecifier"
                ? "default"
                : "*"
          imports.set(identifierName(specifier["local"])!, { source, name })
        }
        break
      }
      case "ExportAllDeclaration": {
        if (node["exportKind"] === "type") break
        const source = sourceOf(node)
        requests.add(source)
        if (isNode(node["exported"])) exports.set(exportedName(node["exported"]), { source, name: "*" })
        else stars.push(source)
        break
      }
      case "ExportNamedDeclaration": {
        if (node["exportKind"] === "type") break
        if (isNode(node["declaration"])) {
          if (isErased(node["declaration"])) break
          for (const name of declare(node["declaration"])) exports.set(name, { local: name })
          break
        }
        const source = isNode(node["source"]) ? sourceOf(node) : undefined
        if (source !== undefined) requests.add(source)
        for (const specifier of node["specifiers"] as ReadonlyArray<Node>) {
          if (specifier["exportKind"] === "type") continue
          const local = exportedName(specifier["local"])
          exports.set(exportedName(specifier["exported"]), source === undefined ? { local } : { source, name: local })
        }
        break
      }
      case "ExportDefaultDeclaration": {
        const declaration = node["declaration"] as Node
        if (isErased(declaration)) break
        const own = /^(?:Function|Class)Declaration$/.test(declaration.type) ? patternNames(declaration["id"]) : []
        add(
          declaration,
          [...own, "default"],
          own.length === 0 ? "default" : declaration.type === "FunctionDeclaration" ? "function" : "class",
          "default "
        )
        exports.set("default", { local: "default" })
        break
      }
      default:
        declare(node)
    }
  }
  return {
    path,
    format: "esm",
    items,
    imports,
    exports,
    stars,
    requests: [...requests],
    waits: items.some(item => hasAtTop(item.node, waits)),
    assigned: assignedIn(body),
    acts: items.some(item => item.kind === "statement" || hasAtTop(item.node, assigns)),
    line
  }
}

const sourceOf = (node: Node): string => (node["source"] as { readonly value: string }).value
