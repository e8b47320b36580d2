/** Whether others may change what the cache holds: digests find wrong bytes, but not a ledger that somebody has rewritten. */
import { existsSync, realpathSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { Effect } from "effect"
import { pathsOf } from "../../../runner/Cache.ts"
import { type Check, type Finding, ok, warning } from "./Check.ts"

const sticky = 0o1000

/** Who but us and root may write to a path, or replace it; undefined if nobody may. `parent`: in a sticky folder each has only their own. */
const othersAt = (path: string, parent: boolean): string | undefined => {
  const { gid, mode, uid } = statSync(path)
  const [me, group] = [process.getuid?.(), process.getgid?.()]
  if (me === undefined) return undefined
  if (parent && (mode & sticky) !== 0) return undefined
  if ((mode & 0o002) !== 0) return "everybody"
  if ((mode & 0o020) !== 0 && gid !== group && gid !== 0) return `the group ${gid}`
  return uid !== me && uid !== 0 ? `user ${uid}, who owns it` : undefined
}

/** A place, what lies directly in it of the cache, and all folders above. */
const lookAt = (name: string, place: string, inside: ReadonlyArray<string>): ReadonlyArray<Finding> => {
  if (!existsSync(place)) return []
  const real = realpathSync(place)
  const above: Array<string> = []
  for (let at = dirname(real); ; at = dirname(at)) {
    above.push(at)
    if (at === dirname(at)) break
  }
  const found = [
    ...[real, ...inside.map(entry => join(real, entry)).filter(path => existsSync(path))].map(
      path => [path, othersAt(path, false)] as const
    ),
    ...above.map(path => [path, othersAt(path, true)] as const)
  ].filter(([, who]) => who !== undefined)
  return found.map(([path, who]) =>
    warning(
      name,
      `${path} may be written by ${who}: results of this cache are only as good as their intentions`,
      `\`chmod go-w ${path}\`, or put the cache below a folder of your own with --cache or PIPELINE_CACHE`
    )
  )
}

export const permissions: Check = {
  name: "permissions",
  run: ({ location }) =>
    Effect.sync(() => {
      const { root } = pathsOf(location.root)
      const findings = [
        ...lookAt("permissions", root, [
          "ledger.db",
          "objects",
          "actions",
          "checkpoints",
          "tmp",
          "trash",
          "quarantine"
        ]),
        ...location.layers.flatMap(layer => lookAt("permissions of shipped data", layer, ["index.json"]))
      ]
      const seen = new Map(findings.map(finding => [finding.text, finding]))
      return seen.size > 0 || !existsSync(root)
        ? [...seen.values()]
        : [ok("permissions", "nobody else may write to the cache")]
    })
}
