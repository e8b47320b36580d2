/** Keys: the SHA-256 of everything that determines an action's result, and nothing else. */
import { type Digest, sha256 } from "./Digest.ts"

/**
 * Bumped when the meaning of a key or the form of published artifacts changes; old results are then computed anew.
 * Paths, times, host names, attempt numbers, slots, worker counts and log levels never enter a key.
 */
export const keyVersion = 1

/** All that determines an action's result. Each is stored, so that `why` can name the one that changed. */
export interface KeyComponents {
  readonly stage: string
  /** Fingerprint of the stage's reachable code and of the packages that it uses. */
  readonly code: Digest
  /** Numeric class of the engine (`ort/cpu/f32`), coarse enough to share results between machines; `none` without tensors. */
  readonly engine: string
  /** Canonical JSON after defaults; where a parameter points to content (a file, a branch), what it stands for. */
  readonly parameters: string
  /** By port, in the stage's order. */
  readonly inputs: ReadonlyArray<KeyInput>
}

export interface KeyInput {
  readonly port: string
  readonly name?: string | undefined
  readonly digest: Digest
}

// A JSON text has no line break of its own and ends at its quote: nothing inside a component can pass for a part of the key.
const quote = (text: string) => JSON.stringify(text)

const inputLine = ({ port, name, digest }: KeyInput) =>
  `${quote(port)}${name === undefined ? "" : `[${quote(name)}]`}=${quote(digest)}\n`

/** The text that is hashed; one component a line, so that no two different actions share it. */
export const keyText = ({ stage, code, engine, parameters, inputs }: KeyComponents): string => {
  let lines = ""
  for (const input of inputs) lines += inputLine(input)
  return `key ${keyVersion}\nstage ${quote(stage)}\ncode ${quote(code)}\nengine ${quote(engine)}\nparameters ${quote(parameters)}\n${lines}`
}

export const actionKey = (components: KeyComponents): Digest => sha256(keyText(components))

/**
 * What all items of a chunk set have in common: sets of one family may share items.
 * Fields are those of a key, narrowed to the parameters and inputs that an item depends on.
 */
export const itemFamily = (components: KeyComponents & { readonly output: string }): Digest =>
  sha256(`items ${quote(components.output)}\n${keyText(components)}`)

/**
 * The key of one item inside its set, from what is its own. Sets are searched for items only within a family, which covers the rest;
 * were the family part of this key, a set of the same bytes would get another digest with every edit of the code, and
 * nothing below it could be cut off early.
 */
export const itemKey = (material: string): Digest => sha256(`item\n${quote(material)}`)
