/** Which paths from outside (a manifest, a hub's listing, a source string) may become files below a directory of ours. */

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
