/**
 * The tree of places in a YAML document: where each value is written, with aliases and merge keys resolved as the values
 * will be. What cannot become a value, or would become another one than is written, is found on the way. A little over 300 lines, since one class reads all events in
 * their order.
 */
import { constructFromEvents, CORE_SCHEMA, type Event, EVENT_ID, getScalarValue, mergeTag, SCALAR_STYLE } from "js-yaml"
import { describe, visible } from "../pipeline/Problem.ts"
import { closest } from "../pipeline/Suggestion.ts"

/** YAML 1.2 core (`yes` and dates are texts, `2e-4` is a number) with merge keys. */
export const yamlSchema = CORE_SCHEMA.withTags(mergeTag)

export const yamlLimits = {
  /** Size of a document, in bytes of a file and in characters of a text. */
  size: 1_048_576,
  /** Levels of lists and mappings, with aliases followed; what enters a key may not be nested deeper. */
  depth: 64,
  /** Values of a document, each counted wherever an alias repeats it; 64 characters of a text count as one more. */
  values: 100_000,
  /** Keys that all merge keys of a document bring in. */
  mergedKeys: 10_000
} as const

/** A problem and its place, an offset in UTF-16 units. */
export interface TreeProblem {
  readonly offset: number
  readonly message: string
  readonly advice?: string | undefined
}

/** A value's place, and the places of the values below it. An anchor and its aliases share one node. */
export interface YamlNode {
  readonly offset: number
  /** Fields by key, or items by index. */
  readonly children: ReadonlyMap<string, YamlEntry>
}

export interface YamlEntry {
  readonly node: YamlNode
  /** Offset of the key, or of the item. */
  readonly key: number
  /** Offset of the alias that brought the value here from its anchor. */
  readonly via: number | undefined
}

export interface YamlTree {
  readonly root: YamlNode | undefined
  readonly problems: ReadonlyArray<TreeProblem>
  /** Whether values can be made of the same events, in spite of the problems. */
  readonly sound: boolean
}

/** Composes the tree from the events of a parsed text. Takes time and memory in proportion to the text, within the limits. */
export const composeTree = (events: ReadonlyArray<Event>, text: string): YamlTree => {
  const composer = new Composer(text)
  composer.compose(events)
  return composer
}

type ScalarEvent = Extract<Event, { readonly valueStart: number }>
type CollectionEvent = Extract<Event, { readonly start: number }>
type AliasEvent = Extract<Event, { readonly type: typeof EVENT_ID.ALIAS }>

interface Node extends YamlNode {
  readonly kind: "scalar" | "list" | "mapping"
  readonly children: Map<string, Entry>
  /** Until a collection is closed, an alias to it is a cycle. */
  open: boolean
  values: number
  depth: number
}

interface Entry extends YamlEntry {
  readonly node: Node
}

/** A collection that is not closed yet. */
interface Frame {
  readonly node: Node
  /** The key whose value comes next. */
  field: { readonly name: string; readonly offset: number; readonly merges: boolean } | undefined
  /** Offsets of the keys that are written in the mapping itself. */
  readonly own: Map<string, number>
}

/** Thrown where nothing that follows could be understood. */
class Stop extends Error {}

const documentStart: Event = { type: EVENT_ID.DOCUMENT, explicitStart: false, explicitEnd: false, directives: [] }
const documentEnd: Event = { type: EVENT_ID.POP }

class Composer implements YamlTree {
  readonly problems: Array<TreeProblem> = []
  root: Node | undefined
  sound = true
  readonly #text: string
  readonly #anchors = new Map<string, Node>()
  readonly #frames: Array<Frame> = []
  #documents = 0
  #mergedKeys = 0
  /** Where the last thing that was read begins. */
  #last = 0

  constructor(text: string) {
    this.#text = text
  }

  compose(events: ReadonlyArray<Event>): void {
    try {
      for (const event of events) this.#read(event)
      if (this.#documents === 0) this.#stop(0, "the document is empty")
    } catch (cause) {
      if (!(cause instanceof Stop)) throw cause
    }
  }

  #read(event: Event) {
    switch (event.type) {
      case EVENT_ID.DOCUMENT:
        if (++this.#documents > 1) {
          const marker = this.#text.slice(this.#last).search(/^---/m)
          this.#stop(
            this.#last + Math.max(marker, 0),
            "a second document begins here",
            "keep one document in each file"
          )
        }
        return
      case EVENT_ID.SEQUENCE:
        return this.#open(event, "list")
      case EVENT_ID.MAPPING:
        return this.#open(event, "mapping")
      case EVENT_ID.SCALAR:
        return this.#expectsKey() ? this.#readKey(event) : this.#readScalar(event)
      case EVENT_ID.ALIAS:
        return this.#readAlias(event)
      case EVENT_ID.POP: {
        const frame = this.#frames.pop()
        if (frame === undefined) return
        frame.node.open = false
        return this.#attach(frame.node, frame.node.offset, undefined)
      }
    }
  }

  #open(event: CollectionEvent, kind: "list" | "mapping") {
    const offset = event.start
    if (this.#expectsKey()) this.#stop(offset, `a key must be a text, not a ${kind}`)
    this.#last = offset
    const node: Node = { kind, offset, children: new Map(), open: true, values: 1, depth: 1 }
    this.#name(event, node)
    this.#frames.push({ node, field: undefined, own: new Map() })
  }

  #readScalar(event: ScalarEvent) {
    const start = scalarStart(event)
    if (start >= 0) this.#last = start
    // A value that is left out has no place, and a block of text begins below its key: the key stands for both.
    const block = event.style === SCALAR_STYLE.LITERAL_BLOCK || event.style === SCALAR_STYLE.FOLDED_BLOCK
    const offset = start < 0 || block ? (this.#frames.at(-1)?.field?.offset ?? this.#last) : start
    if (event.style === SCALAR_STYLE.PLAIN && event.tagStart < 0 && start >= 0) {
      this.#checkNumber(getScalarValue(this.#text, event), offset)
    }
    const node = scalar(offset, 1 + ((event.valueEnd - event.valueStart) >> 6))
    this.#name(event, node)
    this.#attach(node, offset, undefined)
  }

  #readKey(event: ScalarEvent) {
    const frame = this.#frames.at(-1)!
    const name = getScalarValue(this.#text, event)
    const offset = event.valueStart < 0 ? this.#last : scalarStart(event)
    this.#last = offset
    if (event.tagStart >= 0) this.#stop(offset, "a key cannot have a tag")
    if (name === "__proto__") this.#stop(offset, "__proto__ cannot be a key")
    const plain = event.style === SCALAR_STYLE.PLAIN
    const merges = plain && name === "<<"
    if (plain && !merges) {
      // `1.0` would become the key `1`, and `~` the key `null`.
      const [value] = constructFromEvents([documentStart, event, documentEnd], {
        source: this.#text,
        schema: yamlSchema
      })
      if (String(value) !== name || value === null || typeof value === "boolean") {
        const advice = `put quotes around it: "${visible(name)}"`
        this.#report(offset, `a key must be a text, not ${describe(value)}`, advice)
      }
    }
    const before = frame.own.get(name)
    if (before !== undefined) {
      const line = this.#text.slice(0, before).split(/\r\n|\r|\n/).length
      const advice = merges ? "merge several mappings with one key: <<: [*first, *second]" : "remove one of the two"
      this.#report(offset, `the key ${describe(name)} is there twice, first in line ${line}`, advice)
    }
    frame.own.set(name, offset)
    frame.field = { name, offset, merges }
    this.#name(event, scalar(offset, 1))
  }

  #readAlias(event: AliasEvent) {
    const offset = event.anchorStart - 1
    const name = this.#text.slice(event.anchorStart, event.anchorEnd)
    if (this.#expectsKey()) this.#stop(offset, "a key must be a text, not an alias")
    this.#last = offset
    const node = this.#anchors.get(name)
    if (node?.open === true) this.#stop(offset, `the anchor &${visible(name)} contains itself through this alias`)
    if (node === undefined) {
      const meant = closest(name, this.#anchors.keys())
      const advice = meant === undefined ? "a text that begins with * needs quotes" : `did you mean *${visible(meant)}?`
      this.#report(offset, `no anchor &${visible(name)} stands before this alias`, advice)
      this.sound = false
    }
    this.#attach(node ?? scalar(offset, 1), offset, offset)
  }

  /** Puts a finished value where it belongs. */
  #attach(node: Node, offset: number, via: number | undefined) {
    const frame = this.#frames.at(-1)
    if (frame === undefined) {
      this.root = node
      return
    }
    const { field } = frame
    frame.field = undefined
    if (field?.merges === true) return this.#merge(frame, node, field.offset, via)
    const key = field === undefined ? { name: String(frame.node.children.size), offset } : field
    frame.node.children.set(key.name, { node, key: key.offset, via })
    this.#grow(frame.node, node, via ?? offset)
  }

  /** Keys of the mapping itself win over merged ones, and earlier merged ones over later. */
  #merge(frame: Frame, from: Node, offset: number, via: number | undefined) {
    const sources: Array<Entry> =
      from.kind === "list" ? [...from.children.values()] : [{ node: from, key: offset, via }]
    for (const source of sources) {
      if (source.node.kind !== "mapping") {
        this.#report(offset, "<< takes a mapping or a list of mappings", "write <<: *anchor or <<: [*first, *second]")
        this.sound = false
        return
      }
      for (const [name, entry] of source.node.children) {
        if (++this.#mergedKeys > yamlLimits.mergedKeys) {
          this.#stop(offset, `the merge keys of this document bring in more than ${yamlLimits.mergedKeys} keys`)
        }
        if (frame.node.children.has(name)) continue
        frame.node.children.set(name, { ...entry, via: via ?? source.via ?? offset })
        this.#grow(frame.node, entry.node, offset)
      }
    }
  }

  #grow(parent: Node, child: Node, offset: number) {
    parent.values += child.values
    parent.depth = Math.max(parent.depth, child.depth + 1)
    if (parent.values > yamlLimits.values) {
      this.#stop(
        offset,
        `the document has more than ${yamlLimits.values} values, aliases counted wherever they are used`
      )
    }
    if (parent.depth > yamlLimits.depth) {
      this.#stop(offset, `the document is nested deeper than ${yamlLimits.depth} levels, with aliases followed`)
    }
  }

  /** A number that cannot be held would silently become another number, or a text. */
  #checkNumber(written: string, offset: number) {
    const shown = written.length > 40 ? `${written.slice(0, 37)}...` : written
    if (/^(?:0o[0-7]+|0x[0-9a-fA-F]+|[-+]?[0-9]+)$/.test(written)) {
      if (Number.isSafeInteger(Number(written))) return
      const advice = "put quotes around it if it is a text"
      this.#report(offset, `the integer ${shown} cannot be held exactly; the largest is 2^53 - 1`, advice)
    } else if (/^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$/.test(written) && !isFinite(Number(written))) {
      this.#report(offset, `the number ${shown} is too large; the largest is 1.8e308`)
    }
  }

  #expectsKey(): boolean {
    const frame = this.#frames.at(-1)
    return frame?.node.kind === "mapping" && frame.field === undefined
  }

  #name(event: { readonly anchorStart: number; readonly anchorEnd: number }, node: Node) {
    if (event.anchorStart >= 0) this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), node)
  }

  #report(offset: number, message: string, advice?: string) {
    this.problems.push({ offset, message, advice })
  }

  #stop(offset: number, message: string, advice?: string): never {
    this.#report(offset, message, advice)
    this.sound = false
    throw new Stop()
  }
}

const scalar = (offset: number, values: number): Node => ({
  kind: "scalar",
  offset,
  children: new Map(),
  open: false,
  values,
  depth: 0
})

/** Offset of the first character that is written, the quote included; -1 when nothing is. */
const scalarStart = (event: ScalarEvent): number => {
  const quoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED
  return quoted ? event.valueStart - 1 : event.valueStart
}
