/** The memory of full checks: which file was hashed from end to end, and had the digest of its object. */
import { Clock, Effect } from "effect"
import { type Disk, type FileStat, identity } from "./Disk.ts"
import type { StorageError } from "./StorageError.ts"

/** A full check that ended well. */
export interface Check {
  readonly digest: string
  /** Device, inode, size and times of the file, the same before and after; empty where they were not, or might not be. */
  readonly file: string
  /** When it began, in milliseconds since 1970. */
  readonly atMs: number
}

/**
 * What this process knows. The ledger remembers it from one process to the next; a process of an action is handed what concerns its
 * inputs, and says in the end what it found out.
 */
export class Checks {
  readonly #known: Map<string, string>
  readonly #made = new Map<string, Check>()

  constructor(known: Iterable<Pick<Check, "digest" | "file">> = []) {
    this.#known = new Map([...known].map(({ digest, file }) => [digest, file]))
  }

  /** Whether this very file was checked, and has not changed since. */
  has(digest: string, stat: FileStat): boolean {
    return this.#known.get(digest) === identity(stat)
  }

  add(check: Check): void {
    // That it was sound a moment ago is worth knowing, but not which file it was: one that is known stays.
    if (check.file !== "") this.#known.set(check.digest, check.file)
    this.#made.set(check.digest, { ...check, file: check.file || (this.#known.get(check.digest) ?? "") })
  }

  forget(digest: string): void {
    this.#known.delete(digest)
    this.#made.delete(digest)
  }

  /** The checks that this process has made. */
  get made(): ReadonlyArray<Check> {
    return [...this.#made.values()]
  }
}

/** A file that was changed this shortly before its check may be changed again within the same tick of the clock that stamps files. */
export const tickMs = 100

/** Hashes a file. The check is worth remembering if nothing about the file changed meanwhile, or could have unnoticed. */
export const hashUnchanged = (
  disk: Disk,
  path: string,
  now: number
): Effect.Effect<{ readonly sha256: string; readonly size: number; readonly file: string }, StorageError> =>
  Effect.gen(function* () {
    const before = yield* disk.stat(path, { follow: true })
    const hashed = yield* disk.hash(path)
    const after = yield* disk.stat(path, { follow: true })
    const settled = Number(before.ctimeNs / 1_000_000n) + tickMs < now
    return { ...hashed, file: settled && identity(before) === identity(after) ? identity(before) : "" }
  })

/** A timer may ring this much early by the clock that is compared with. */
const timerMs = 5

/** Hashes a file that was written a moment ago, once the clock that stamps files has gone on: whatever is done to it from now on shows. */
export const hashSettled = (
  disk: Disk,
  path: string
): Effect.Effect<{ readonly sha256: string; readonly size: number; readonly file: string }, StorageError> =>
  Effect.gen(function* () {
    const { ctimeNs } = yield* disk.stat(path)
    const wait = Number(ctimeNs / 1_000_000n) + tickMs + timerMs - (yield* Clock.currentTimeMillis)
    // More than that only says that the clock of the disk is another one.
    if (wait > 0 && wait <= 2 * tickMs) yield* Effect.sleep(wait)
    return yield* hashUnchanged(disk, path, yield* Clock.currentTimeMillis)
  })
