/** The shipped documents as JSON Lines, and what can be said about their lengths. */
import type { Excerpt } from "./excerpt.ts"
import { type PinnedPackage, textPackages } from "../../src/corpora/packages.ts"

/** A record of `documents.jsonl`; readers need `text` only. `start` and `end` are UTF-8 bytes of the source's plain text. */
export interface ShippedDocument {
  readonly id: string
  readonly text: string
  readonly source: string
  readonly from: {
    readonly package: string
    readonly version: string
    readonly file: string
    readonly fileSha256: string
    readonly start: number
    readonly end: number
  }
}

export const shipped = (excerpt: Excerpt): ShippedDocument => {
  const { document, end, start, text } = excerpt
  const pkg: PinnedPackage = textPackages[document.source]
  return {
    id: document.id,
    text,
    source: document.source,
    from: {
      package: pkg.name,
      version: pkg.version,
      file: document.file,
      fileSha256: document.fileSha256,
      start,
      end
    }
  }
}

export interface Lengths {
  readonly count: number
  readonly total: number
  readonly least: number
  readonly median: number
  readonly most: number
}

export const lengths = (values: ReadonlyArray<number>): Lengths => {
  const sorted = [...values].sort((a, b) => a - b)
  return {
    count: sorted.length,
    total: sorted.reduce((sum, value) => sum + value, 0),
    least: sorted[0] ?? 0,
    median: sorted[sorted.length >> 1] ?? 0,
    most: sorted.at(-1) ?? 0
  }
}
