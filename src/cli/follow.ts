/** Files that grow, read as they do. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"

/** Reads what was appended to a file since the last time. A file that is not there has nothing yet. */
export const appendedTo = (path: string): (() => Buffer) => {
  let from = 0
  return () => {
    let file: number | undefined
    try {
      file = openSync(path, "r")
      const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - from))
      const read = readSync(file, bytes, 0, bytes.length, from)
      from += read
      return bytes.subarray(0, read)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0)
      throw error
    } finally {
      if (file !== undefined) closeSync(file)
    }
  }
}

/** The same by lines: one that has no end yet waits for it. */
export const linesOf = (path: string): (() => ReadonlyArray<string>) => {
  const read = appendedTo(path)
  let open = Buffer.alloc(0)
  return () => {
    const bytes = Buffer.concat([open, read()])
    const end = bytes.lastIndexOf("\n") + 1
    open = bytes.subarray(end)
    return end === 0 ? [] : bytes.toString("utf8", 0, end - 1).split("\n")
  }
}
