/** What a run needs of a machine, and what it costs, as far as that is known before anything is fetched or computed. Plain data. */

/** One part of a sum. */
export interface Term {
  readonly what: string
  readonly bytes: number
  /** The label of the action that makes it: what the cache holds of it already is not needed again. */
  readonly by?: string
}

/** A repository or file that is fetched. */
export interface BillSource {
  /** The label of the action that fetches it, and its parameter `source`. */
  readonly label: string
  readonly source: string
  /** Whether only accounts that its owner has let in may read it. */
  readonly gated: boolean
}

export interface Bill {
  /** The engine that the formulas are of; left out, any. */
  readonly engine?: string
  readonly sources: ReadonlyArray<BillSource>
  /** Bytes through the network. */
  readonly fetch: ReadonlyArray<Term>
  /** Bytes on disk, in the cache. */
  readonly keep: ReadonlyArray<Term>
  /** Of the host, at the same time. */
  readonly memory: ReadonlyArray<Term>
  /** Of one GPU, at the same time. */
  readonly gpuMemory: ReadonlyArray<Term>
  /** Hours of work from rates that were measured; left out where nothing was measured on such a device. */
  readonly hours?: number
}

export const total = (terms: ReadonlyArray<Term>): number => terms.reduce((sum, { bytes }) => sum + bytes, 0)
