/** What differs between the components of two keys, down to the smallest part that has a name. */
import { type Digest, short } from "../pipeline/Digest.ts"
import type { KeyComponents, KeyInput } from "../pipeline/Key.ts"
import { ownField } from "../pipeline/ownField.ts"

/** One difference between two actions. */
export interface Difference {
  /** `parameters.lr`, `code stages/train.ts`, `package effect`, `engine`, or `input anchors`. */
  readonly component: string
  readonly before: string
  readonly after: string
  /** Of a parameter: where it stands below the parameters. */
  readonly path?: ReadonlyArray<string | number>
  /** Of an input: the digests that it has now. */
  readonly digests?: ReadonlyArray<Digest>
}

/** What stands for something that is not there at all. */
export const absent = "absent"

/** `port`, or `port.name` for a port that takes a record. */
export const inputName = (input: KeyInput) => (input.name === undefined ? input.port : `${input.port}.${input.name}`)

/** How two keys differ. Without both code details the code is compared as a whole, by its digest. */
export const differences = (
  before: KeyComponents,
  after: KeyComponents,
  detailBefore: string | undefined,
  detailAfter: string | undefined
): ReadonlyArray<Difference> => [
  ...(before.stage === after.stage ? [] : [{ component: "stage", before: before.stage, after: after.stage }]),
  ...(before.parameters === after.parameters
    ? []
    : jsonDifferences(JSON.parse(before.parameters), JSON.parse(after.parameters), [])),
  ...(before.engine === after.engine ? [] : [{ component: "engine", before: before.engine, after: after.engine }]),
  ...inputDifferences(before.inputs, after.inputs),
  ...(before.code === after.code ? [] : codeDifferences(before.code, after.code, detailBefore, detailAfter))
]

const inputDifferences = (
  before: ReadonlyArray<KeyInput>,
  after: ReadonlyArray<KeyInput>
): ReadonlyArray<Difference> => {
  const [old, now] = [Map.groupBy(before, inputName), Map.groupBy(after, inputName)]
  const found: Array<Difference> = []
  for (const name of new Set([...old.keys(), ...now.keys()])) {
    const [a, b] = [old, now].map(inputs => (inputs.get(name) ?? []).map(({ digest }) => digest)) as [
      Array<Digest>,
      Array<Digest>
    ]
    if (a.join() === b.join()) continue
    const text = (digests: ReadonlyArray<Digest>) => digests.map(short).join(", ") || absent
    if (a.length === b.length && a.length > 1) {
      // A list of equal length: name the places that differ.
      a.forEach((digest, i) => {
        if (digest !== b[i])
          found.push({ component: `input ${name}[${i}]`, before: short(digest), after: short(b[i]!), digests: [b[i]!] })
      })
    } else {
      found.push({ component: `input ${name}`, before: text(a), after: text(b), digests: b })
    }
  }
  // What remains can only be the order of the ports.
  if (found.length === 0 && inputText(before) !== inputText(after))
    found.push({
      component: "order of inputs",
      before: before.map(inputName).join(", "),
      after: after.map(inputName).join(", ")
    })
  return found
}

const inputText = (inputs: ReadonlyArray<KeyInput>) => inputs.map(input => `${inputName(input)}=${input.digest}`).join()

/** What a code fingerprint consists of, as the ledger keeps it: modules and packages by name. */
export interface CodeDetail {
  readonly modules: { readonly [path: string]: string }
  readonly packages: { readonly [name: string]: string }
}

export const decodeDetail = (text: string): CodeDetail => {
  const { modules, packages } = JSON.parse(text) as Partial<CodeDetail>
  return { modules: modules ?? {}, packages: packages ?? {} }
}

/** Names the packages and modules that changed; the digests alone say nothing to a person. */
const codeDifferences = (
  before: Digest,
  after: Digest,
  detailBefore: string | undefined,
  detailAfter: string | undefined
): ReadonlyArray<Difference> => {
  const whole = [{ component: "code", before: short(before), after: short(after) }]
  if (detailBefore === undefined || detailAfter === undefined) return whole
  const [old, now] = [decodeDetail(detailBefore), decodeDetail(detailAfter)]
  const found = [
    ...recordDifferences("package", old.packages, now.packages, text => text),
    ...recordDifferences("code", old.modules, now.modules, text => text.slice(0, 8))
  ]
  return found.length === 0 ? whole : found
}

const recordDifferences = (prefix: string, before: Names, after: Names, show: (text: string) => string) => {
  const text = (value: string | undefined) => (value === undefined ? absent : show(value))
  return changedNames(before, after).map(name => ({
    component: `${prefix} ${name}`,
    before: text(ownField(before, name)),
    after: text(ownField(after, name))
  }))
}

type Names = { readonly [name: string]: string }

/** The names that do not stand for the same in both. */
export const changedNames = (before: Names, after: Names): ReadonlyArray<string> =>
  [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    name => ownField(before, name) !== ownField(after, name)
  )

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The leaves at which two JSON values differ. Lists of equal length are compared item by item, others as a whole. */
export const jsonDifferences = (
  before: unknown,
  after: unknown,
  path: ReadonlyArray<string | number>
): ReadonlyArray<Difference> => {
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  if (isRecord(before) && isRecord(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap(key =>
      jsonDifferences(ownField(before, key), ownField(after, key), [...path, key])
    )
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length)
    return before.flatMap((item: unknown, i) => jsonDifferences(item, after[i], [...path, i]))
  const text = (value: unknown) => (value === undefined ? absent : JSON.stringify(value))
  return [{ component: parameterName(path), before: text(before), after: text(after), path }]
}

/** `parameters.layers[2].width`. */
export const parameterName = (path: ReadonlyArray<string | number>): string =>
  path.reduce<string>((name, part) => (typeof part === "number" ? `${name}[${part}]` : `${name}.${part}`), "parameters")
