/** What a key is made from, looked at a second time: whether it is still the same, and in words what is not. */
import { changedNames, decodeDetail, jsonDifferences } from "../ledger/Difference.ts"
import { actionKey } from "../pipeline/Key.ts"
import { canonical, type Digest, sha256 } from "../pipeline/Digest.ts"
import type { ReadyAction } from "./Action.ts"
import type { Seen } from "./Ports.ts"
import { fromHere } from "../pipeline/Origin.ts"

/** The key that an action has by what was seen. */
export const keyOf = ({ components, node }: ReadyAction, { code, identity }: Seen): Digest =>
  actionKey({ ...components, code: code.digest, parameters: identity ?? node.parametersText })

/**
 * What is not any more what an action's key was made from; undefined if all is. A file that was written to between two looks counts,
 * also if it has its old content again: what was read in between is not known.
 */
export const difference = (action: ReadyAction, now: Seen, before: Seen = now): string | undefined => {
  const found: Array<string> = []
  if (now.code.digest !== action.components.code)
    found.push(`its code changed${inParentheses(changedModules(action.codeDetail, now.code.detail))}`)
  const parameters = now.identity ?? action.node.parametersText
  const written = writtenFiles(before.files, now.files)
  if (parameters !== action.components.parameters) {
    const names = written.length > 0 ? written : now.files.map(([path]) => fromHere(path))
    const places = changedPlaces(action.components.parameters, parameters)
    found.push(`what its parameters stand for changed${inParentheses(names.length > 0 ? names : places)}`)
  } else if (written.length > 0) found.push(`${some(written)} ${written.length === 1 ? "was" : "were"} written to`)
  return found.length === 0 ? undefined : found.join(", and ")
}

/**
 * Name of the directory, below those of a key, from which an attempt goes on: other files, or the same ones written to, lead to another one.
 * So nothing that was made from what an earlier attempt saw can be taken for this one's, whoever wrote it, and whenever. `dropped`: what
 * the ledger remembers since a result of this key was dropped, or was found to be made from damaged bytes.
 */
export const checkpointName = ({ files }: Seen, dropped: string | undefined): string =>
  sha256(canonical({ files, dropped: dropped ?? null })).slice(0, 16)

/** The name under which the ledger remembers that, until the checkpoints are gone. */
export const droppedName = (key: Digest): string => `dropped ${key}`

/** How many names a message has room for. */
const shown = 3

const some = (names: ReadonlyArray<string>): string =>
  names.length <= shown ? names.join(", ") : `${names.slice(0, shown).join(", ")} and ${names.length - shown} more`

const inParentheses = (names: ReadonlyArray<string>): string => (names.length === 0 ? "" : ` (${some(names)})`)

const writtenFiles = (before: Seen["files"], now: Seen["files"]): ReadonlyArray<string> => {
  const known = new Map(before)
  const still = new Set(now.map(([path]) => path))
  return [
    ...now.flatMap(([path, stat]) => (known.get(path) === stat ? [] : [path])),
    ...before.flatMap(([path]) => (still.has(path) ? [] : [path]))
  ].map(fromHere)
}

/** Modules and packages that differ, from the two details as the ledger keeps them. */
const changedModules = (before: string, now: string): ReadonlyArray<string> => {
  const [old, fresh] = [decodeDetail(before), decodeDetail(now)]
  return [...changedNames(old.modules, fresh.modules), ...changedNames(old.packages, fresh.packages)]
}

/** Paths of the values that differ. */
const changedPlaces = (before: string, now: string): ReadonlyArray<string> =>
  jsonDifferences(JSON.parse(before), JSON.parse(now), []).flatMap(({ path = [] }) =>
    path.length === 0 ? [] : [path.join(".")]
  )
