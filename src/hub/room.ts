/** Whether what is downloaded fits: on the disk, and under the bound for one file. */
import { Effect } from "effect"
import { stat, statfs } from "node:fs/promises"
import { dirname } from "node:path"
import { bytes } from "../pipeline/units.ts"
import { FileError, fullDiskAdvice, onFile } from "../formats/fileError.ts"
import { type HttpError } from "./http.ts"
import { refused } from "./httpError.ts"

export interface Bounds {
  /** The most bytes that one file may have. */
  readonly mostBytes?: number | undefined
  /** Bytes that are free for files in a directory; by default those of its file system. */
  readonly free?: (directory: string) => Promise<number>
  /** The disk's room is asked for again after so many bytes, because others write to it, too. Default: 64 MiB. */
  readonly lookAgainAfter?: number
}

/** The variable that sets `mostBytes`. */
export const mostBytesVariable = "PIPELINE_MAX_DOWNLOAD"

/** Larger than any published file of weights or of documents that is not split. */
const defaultMostBytes = 200e9

/** Left to the ledger and to logs, which have to say what happened. */
const reserve = 64 * 2 ** 20

const sizes: { readonly [unit: string]: number } = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }

/** The bounds that the environment sets; `200GB` and plain bytes are understood. */
export const boundsOf = (environment: {
  readonly [name: string]: string | undefined
}): Effect.Effect<Bounds, FileError> => {
  const text = environment[mostBytesVariable]?.trim() ?? ""
  if (text === "") return Effect.succeed({ mostBytes: defaultMostBytes })
  const [, number, unit] = /^(\d{1,15}(?:\.\d{1,6})?)\s*([kMGT]?)B?$/i.exec(text) ?? []
  return number === undefined
    ? Effect.fail(
        new FileError({
          class: "permanent",
          path: "",
          message: `${mostBytesVariable} is ${JSON.stringify(text)}; it must be a number of bytes, such as 200GB`
        })
      )
    : Effect.succeed({ mostBytes: Math.round(Number(number) * sizes[unit!.toLowerCase()]!) })
}

/** Of a directory that may not have been made yet, what its parent has. */
const freeOf = async (directory: string): Promise<number> => {
  try {
    const { bavail, bsize } = await statfs(directory)
    return bavail * bsize
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ENOENT"
    if (missing && dirname(directory) !== directory) return freeOf(dirname(directory))
    throw cause
  }
}

export interface Room {
  /** Fails when the disk has no room for so many more bytes. */
  readonly need: (bytes: number) => Effect.Effect<void, FileError>
  /** To be called before bytes are written; looks at the disk now and then. `left`: what is still to come, as far as it is known. */
  readonly before: (bytes: number, left: number) => Effect.Effect<void, FileError>
  /** Fails when a file of this size is not taken. */
  readonly allow: (size: number, url: string) => Effect.Effect<void, HttpError>
}

/** Room for a file at `path`. */
export const roomFor = (
  path: string,
  { free = freeOf, lookAgainAfter = 64 * 2 ** 20, mostBytes = defaultMostBytes }: Bounds = {}
): Room => {
  const need = Effect.fnUntraced(function* (more: number) {
    const left = yield* onFile(path, `look at the disk of ${path}`, () => free(dirname(path)))
    if (left < more + reserve) return yield* noRoom(path, left, more + reserve)
  })
  let unseen = 0
  return {
    need,
    before: (count, left) => {
      unseen += count
      if (unseen < lookAgainAfter) return Effect.void
      unseen = 0
      return need(left)
    },
    allow: (size, url) =>
      size <= mostBytes
        ? Effect.void
        : Effect.fail(
            refused(
              url,
              `it has more than the ${bytes(mostBytes)} that one file may have; set ${mostBytesVariable} to allow more`
            )
          )
  }
}

const noRoom = (path: string, free: number, needed: number): Effect.Effect<never, FileError> =>
  Effect.fail(
    new FileError({
      class: "storage",
      path,
      message: `the disk that holds ${path} is full: ${bytes(free)} free, ${bytes(needed)} needed`,
      advice: fullDiskAdvice
    })
  )

/** A refused write says how much room there is, as a refused download does. */
export const withRoom =
  (path: string, needed: number, { free = freeOf }: Bounds = {}) =>
  <A>(write: Effect.Effect<A, FileError>): Effect.Effect<A, FileError> =>
    Effect.catchTag(write, "FileError", error =>
      error.code === "ENOSPC" || error.code === "EDQUOT"
        ? Effect.flatMap(
            Effect.orElseSucceed(
              onFile(path, "look at its disk", () => free(dirname(path))),
              () => 0
            ),
            left => noRoom(path, left, needed)
          )
        : Effect.fail(error)
    )

/** Bytes that files take up on the disk; those that are not there take none. Part files have holes, which count as nothing. */
export const heldBytes = (paths: ReadonlyArray<string>): Effect.Effect<number> =>
  Effect.promise(async () => {
    let sum = 0
    for (const path of paths)
      sum += await stat(path).then(
        ({ blocks }) => blocks * 512,
        () => 0
      )
    return sum
  })
