/** Which paths from outside (a manifest, a hub's listing, a source string) may become files below a directory of ours. */

/** In bytes of UTF-8; leaves room for the directory that the path is joined to. */
const longestPath = 3000

/**
 * Why `path` may not be joined to a directory, or `undefined` when it may. Accepted are relative paths with forward
 * slashes that stay below the directory on every system: no `..`, no empty or `.` segment, no
 * backslash, no NUL or other control character, no drive letter or `C:stream`.
 */
export const unsafePath = (path: string): string | undefined => {
  if (path === "") return "it is empty"
  if (path.startsWith("/")) return "it is absolute"
  if (path.includes("\\")) return "it contains a backslash, which separates directories on Windows"
  if (/[\u0000-\u001f\u007f]/.test(path)) return "it contains a control character"
  if (!path.isWellFormed()) return "it contains half of a surrogate pair"
  if (Buffer.byteLength(path) > longestPath)
    return `it is longer than ${longestPath} bytes, and systems allow 4,096 with the directory`
  for (const segment of path.split("/")) {
    if (segment === "") return "it contains an empty segment"
    if (segment === "." || segment === "..") return `it contains the segment "${segment}"`
    if (/^[A-Za-z]:/.test(segment)) return `the segment "${segment}" names a Windows drive or stream`
    if (Buffer.byteLength(segment) > 255) return "a segment is longer than the 255 bytes that file systems allow"
  }
  return undefined
}

/** Why these names cannot all be files of one directory; undefined if they can. */
export const unsafeTogether = (
  paths: Iterable<string>
): { readonly path: string; readonly why: string } | undefined => {
  const files = new Set<string>()
  const directories = new Set<string>()
  for (const path of paths) {
    const why = unsafePath(path)
    if (why !== undefined) return { path, why }
    if (files.has(path)) return { path, why: "it is listed twice" }
    files.add(path)
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) directories.add(path.slice(0, end))
  }
  for (const path of files) if (directories.has(path)) return { path, why: "it is both a file and a directory" }
  return undefined
}

/** Names of files of one directory, as they come up one by one. */
export class Names {
  readonly #files = new Set<string>()
  readonly #directories = new Set<string>()

  /** Adds a name; otherwise says why it may not be one, `twice` where it is taken. */
  add(path: string): string | undefined {
    const why = unsafePath(path)
    if (why !== undefined) return why
    if (this.#files.has(path)) return "twice"
    if (this.#directories.has(path)) return "another file lies below that name: it would be both a file and a directory"
    const directories: Array<string> = []
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) directories.push(path.slice(0, end))
    const file = directories.find(directory => this.#files.has(directory))
    if (file !== undefined) return `${JSON.stringify(file)} would be both a file and a directory`
    this.#files.add(path)
    for (const directory of directories) this.#directories.add(directory)
    return undefined
  }

  delete(path: string): void {
    this.#files.delete(path)
  }
}
