/** Which objects are still needed while artifacts are dropped one by one. Sets share most of their pages: an item counts once per page. */
import type { Digest } from "../pipeline/Digest.ts"

/** What needs what, and what of it is in the writable store. */
export interface Contents<Artifact> {
  /** What an artifact needs: its manifest, files and pages. */
  readonly objectsOf: (artifact: Artifact) => Iterable<Digest>
  /** What an object needs in turn: the items that a page lists; nothing for others. */
  readonly partsOf: (object: Digest) => Iterable<Digest>
  readonly stored: ReadonlyMap<Digest, { readonly size: number }>
}

/** Counts, for each object, the kept artifacts and pages that need it. */
export class Needs<Artifact> {
  readonly #contents: Contents<Artifact>
  /** By artifacts, for themselves. An object may be a page here and an item elsewhere. */
  readonly #direct = new Map<Digest, number>()
  /** By pages, as items. */
  readonly #parts = new Map<Digest, number>()

  constructor(contents: Contents<Artifact>) {
    this.#contents = contents
  }

  has(object: Digest): boolean {
    return this.#direct.has(object) || this.#parts.has(object)
  }

  add(artifact: Artifact): void {
    for (const object of new Set(this.#contents.objectsOf(artifact))) {
      if (!increment(this.#direct, object)) continue
      for (const part of new Set(this.#contents.partsOf(object))) increment(this.#parts, part)
    }
  }

  /** Returns the objects of the writable store that nothing needs any more. The artifact must have been added once. */
  drop(artifact: Artifact): ReadonlyArray<Digest> {
    const freed: Array<Digest> = []
    const free = (object: Digest) => {
      if (!this.has(object) && this.#contents.stored.has(object)) freed.push(object)
    }
    for (const object of new Set(this.#contents.objectsOf(artifact))) {
      if (!decrement(this.#direct, object)) continue
      free(object)
      for (const part of new Set(this.#contents.partsOf(object))) if (decrement(this.#parts, part)) free(part)
    }
    return freed
  }
}

/** Tells whether it is the first. */
const increment = (counts: Map<Digest, number>, object: Digest): boolean => {
  const count = counts.get(object) ?? 0
  counts.set(object, count + 1)
  return count === 0
}

/** Tells whether it was the last. */
const decrement = (counts: Map<Digest, number>, object: Digest): boolean => {
  const count = counts.get(object)! - 1
  if (count > 0) counts.set(object, count)
  else counts.delete(object)
  return count === 0
}

export interface Amount {
  readonly count: number
  readonly bytes: number
}

/** Adds up objects of the writable store, each once, however many artifacts need it. */
export class Counted<Artifact> {
  readonly #contents: Contents<Artifact>
  readonly #seen = new Set<Digest>()
  /** Objects whose parts were counted, too. */
  readonly #expanded = new Set<Digest>()
  readonly #remaining = new Map<Digest, Amount>()

  constructor(contents: Contents<Artifact>) {
    this.#contents = contents
  }

  /** Bytes that the artifact needs and that were not counted before. */
  add(artifact: Artifact): number {
    let bytes = 0
    const visit = (object: Digest) => {
      if (this.#seen.has(object)) return
      this.#seen.add(object)
      bytes += this.#contents.stored.get(object)?.size ?? 0
    }
    for (const object of this.#contents.objectsOf(artifact)) {
      if (this.#expanded.has(object)) continue
      this.#expanded.add(object)
      visit(object)
      for (const part of this.#contents.partsOf(object)) visit(part)
    }
    this.#remaining.clear()
    return bytes
  }

  /** What the artifact needs beyond what was counted. */
  others(artifact: Artifact): Amount {
    let count = 0
    let bytes = 0
    for (const object of new Set(this.#contents.objectsOf(artifact))) {
      const amount = this.#expanded.has(object) ? nothing : this.#beyond(object)
      count += amount.count
      bytes += amount.bytes
    }
    return { count, bytes }
  }

  /** An object and its parts, without what was counted. Many sets ask for the same page. */
  #beyond(object: Digest): Amount {
    const known = this.#remaining.get(object)
    if (known !== undefined) return known
    let count = 0
    let bytes = 0
    for (const each of new Set([object, ...this.#contents.partsOf(object)])) {
      const stored = this.#seen.has(each) ? undefined : this.#contents.stored.get(each)
      if (stored === undefined) continue
      count++
      bytes += stored.size
    }
    const amount = { count, bytes }
    this.#remaining.set(object, amount)
    return amount
  }
}

const nothing: Amount = { count: 0, bytes: 0 }
