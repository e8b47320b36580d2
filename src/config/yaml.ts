/** YAML documents from people's files: values, the place of each, and every problem with its place. */
import { constructFromEvents, parseEvents, YAMLException } from "js-yaml"
import * as Origin from "../pipeline/Origin.ts"
import { excerpt, type Problem, visible } from "../pipeline/Problem.ts"
import { composeTree, type TreeProblem, type YamlEntry, yamlLimits, type YamlNode, yamlSchema } from "./yamlTree.ts"
import { append } from "../pipeline/lists.ts"

/** A problem as people read it, and the numbers of its place to sort by. */
export interface YamlProblem extends Problem {
  readonly line: number
  readonly column: number
}

/** One YAML document, read as far as its problems allow. */
export class YamlDocument {
  readonly file: string
  /** Plain objects, lists and scalars; undefined when the problems left no value. */
  readonly value: unknown
  readonly problems: ReadonlyArray<TreeProblem>
  readonly #text: string
  readonly #root: YamlNode | undefined
  #lineStarts: ReadonlyArray<number> | undefined

  private constructor(file: string, text: string, read: YamlReading) {
    this.file = file
    this.#text = text
    this.value = read.value
    this.problems = read.problems
    this.#root = read.root
  }

  /** Whatever the text holds, there is a value, or a problem, or both. `file` is its name in messages. */
  static read(text: string, file: string): YamlDocument {
    // A byte order mark is not in the first column.
    const marked = text.startsWith("\uFEFF") ? text.slice(1) : text
    return new YamlDocument(file, marked, readText(marked))
  }

  show({ offset, message, advice }: TreeProblem): YamlProblem {
    return toProblem(this.#position(offset), message, advice)
  }

  /** A problem with the value (or the key) at `path`; what is not there is shown at the nearest value around it. */
  showAt(
    path: ReadonlyArray<PropertyKey>,
    part: Origin.Part,
    message: string,
    advice: string | undefined
  ): YamlProblem {
    const position = this.#root === undefined ? this.#position(0) : this.#locate(rootEntry(this.#root), path, part)
    return toProblem(position, message, advice)
  }

  /**
   * Remembers where the objects in `value` stand, so that errors found later point here. `value` is this document's own or
   * what a schema decoded it to; where both have the same path, they have the same place.
   */
  recordOrigins(value: unknown): void {
    if (this.#root === undefined) return
    const pending: Array<readonly [value: unknown, entry: YamlEntry]> = [[value, rootEntry(this.#root)]]
    const seen = new Set<unknown>()
    while (pending.length > 0) {
      const [above, entry] = pending.pop()!
      if (typeof above !== "object" || above === null || seen.has(above)) continue
      seen.add(above)
      Origin.record(above, (path, part) => this.#locate(entry, path, part))
      for (const [name, below] of entry.node.children) {
        if (Object.hasOwn(above, name)) pending.push([(above as Record<string, unknown>)[name], below])
      }
    }
  }

  #locate(from: YamlEntry, path: ReadonlyArray<PropertyKey>, part: Origin.Part): Origin.Position {
    let entry = from
    let via = from.via
    for (const name of path) {
      const below = entry.node.children.get(String(name))
      // Of something that is missing, the key of what should contain it is the nearest.
      if (below === undefined) return this.#position(entry.key, via)
      via ??= below.via
      entry = below
    }
    return this.#position(part === "key" ? entry.key : entry.node.offset, via)
  }

  /** Line and column of an offset, with the line. `via` adds the line that led there. */
  #position(offset: number, via?: number) {
    const { line, column, text } = this.#line(offset)
    const shown = excerpt(text, line, column)
    const used = via === undefined ? undefined : this.#line(via)
    const led =
      used === undefined || used.line === line ? "" : `\n${excerpt(used.text, used.line, used.column, "used here")}`
    return { file: this.file, line, column, excerpt: `${shown}${led}` }
  }

  #line(offset: number) {
    const starts = (this.#lineStarts ??= [
      0,
      ...Array.from(this.#text.matchAll(/\r\n|\r|\n/g), found => found.index + found[0].length)
    ])
    const end = Math.min(offset, this.#text.length)
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (starts[middle]! <= end) low = middle
      else high = middle
    }
    const start = starts[low]!
    const text = this.#text.slice(start, starts[low + 1] ?? this.#text.length).replace(/[\r\n]+$/, "")
    return { line: low + 1, column: end - start + 1, text }
  }
}

const toProblem = (position: Origin.Position, message: string, advice: string | undefined): YamlProblem => {
  const { line, column } = position
  return { at: Origin.format(position), line, column, message, excerpt: position.excerpt, advice }
}

const rootEntry = (root: YamlNode): YamlEntry => ({ node: root, key: root.offset, via: undefined })

interface YamlReading {
  readonly value: unknown
  readonly problems: ReadonlyArray<TreeProblem>
  readonly root: YamlNode | undefined
}

const readText = (text: string): YamlReading => {
  const problems: Array<TreeProblem> = []
  let root: YamlNode | undefined
  if (text.length > yamlLimits.size) {
    const message = `a configuration may have ${yamlLimits.size} bytes, this has more`
    return { value: undefined, problems: [{ offset: 0, message }], root }
  }
  try {
    // The parser counts one level more; what it lets through is checked again, with aliases followed.
    const events = parseEvents(text, { maxDepth: yamlLimits.depth + 2 })
    const tree = composeTree(events, text)
    append(problems, tree.problems)
    root = tree.root
    if (tree.sound) {
      // `json` lets the last of repeated keys stand: they are reported already, and the rest is still worth checking.
      const [value] = constructFromEvents(events, {
        source: text,
        schema: yamlSchema,
        json: true,
        maxTotalMergeKeys: -1
      })
      return { value, problems, root }
    }
  } catch (cause) {
    problems.push(
      cause instanceof YAMLException
        ? { offset: cause.mark?.position ?? 0, message: `this is not valid YAML: ${visible(cause.reason)}` }
        : { offset: 0, message: `this cannot be read as YAML: ${visible(String(cause)).slice(0, 200)}` }
    )
  }
  return { value: undefined, problems, root }
}
