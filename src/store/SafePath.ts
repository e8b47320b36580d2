/** Names of files inside an artifact: relative, with forward slashes, and never leading out of their directory. */

/** Why a name may not be used, as the end of a sentence; undefined if it may. */
export const whyUnsafe = (path: string): string | undefined => {
  if (path === "") return "is empty"
  if (path.includes("\0")) return "contains a NUL character"
  if (path.startsWith("/") || /^[A-Za-z]:/.test(path)) return "is absolute; it must be relative"
  if (path.includes("\\")) return "contains a backslash; folders are separated by forward slashes"
  for (const segment of path.split("/")) {
    if (segment === "..") return "leads out of its directory"
    if (segment === "" || segment === ".") return "contains an empty segment"
  }
  return undefined
}

/** Why these names cannot all be files of one directory; undefined if they can. */
export const whyUnsafeTogether = (
  paths: Iterable<string>
): { readonly path: string; readonly why: string } | undefined => {
  const files = new Set<string>()
  const directories = new Set<string>()
  for (const path of paths) {
    const why = whyUnsafe(path)
    if (why !== undefined) return { path, why }
    if (files.has(path)) return { path, why: "is listed twice" }
    files.add(path)
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) directories.add(path.slice(0, end))
  }
  for (const path of files) if (directories.has(path)) return { path, why: "is both a file and a directory" }
  return undefined
}
