/** Logs of attempts: where they lie, and what the runner itself has to say in them. */
import { dirname, join } from "node:path"
import { Effect } from "effect"
import type * as Runs from "../ledger/Runs.ts"
import { sha256 } from "../pipeline/Digest.ts"
import type { Ports } from "./Ports.ts"

/** Bytes of a label that a file's name has room for, beside a digest, the attempt and an ending. */
const longest = 200

/** Below the cache; the label's slashes would be directories. */
export const logPath = (run: Runs.RunId, label: string, attempt: number): string => {
  const name = label.replaceAll("/", "__")
  const short = name.length <= longest ? name : `${name.slice(0, longest)}-${sha256(label).slice(0, 16)}`
  return `logs/${run}/${short}.${attempt}.log`
}

/** Begins an attempt's log; undefined where none can be had. A full disk below the logs must not end the work. */
export const beginLog = (
  { disk, emit, paths }: Pick<Ports, "disk" | "emit" | "paths">,
  log: string,
  lines: ReadonlyArray<string>
): Effect.Effect<string | undefined> => {
  const path = join(paths.root, log)
  return disk.write(path, `${lines.join("\n")}\n`).pipe(
    Effect.as(path),
    Effect.catchTag("StorageError", error =>
      Effect.as(emit({ type: "warning", message: `what the action prints is lost: ${error.message}` }), undefined)
    )
  )
}

/** Appends to an attempt's log, which need not exist yet. That it cannot be written is no reason to fail. */
export const note = (
  { disk, paths }: Pick<Ports, "disk" | "paths">,
  log: string,
  text: string
): Effect.Effect<void> => {
  const path = join(paths.root, log)
  return Effect.gen(function* () {
    yield* disk.mkdir(dirname(path))
    yield* Effect.acquireUseRelease(
      disk.append(path),
      file => file.write(Buffer.from(`${text}\n`)),
      file => file.close
    )
  }).pipe(Effect.ignoreCause)
}
