/** What a stage may be declared with: checked where `Stage.make` is called, for files that run without a type check too. */
import { ConfigError } from "./ConfigError.ts"
import * as Origin from "./Origin.ts"
import * as Problem from "./Problem.ts"
import type { StageOptions } from "./Stage.ts"
import { closest } from "./Suggestion.ts"

/** Names become parts of file names; with both parts of a label, a suffix and a digest they stay below what file systems allow (255 bytes). */
export const longestName = 100

/** Every option, so that the compiler asks for a new one here. */
const known: { readonly [option in keyof StageOptions<{}, never, {}>]-?: true } = {
  description: true,
  inputs: true,
  parameters: true,
  outputs: true,
  items: true,
  methods: true,
  files: true,
  identity: true,
  resources: true,
  retries: true,
  timeout: true,
  process: true,
  engine: true,
  executesCode: true,
  run: true
}

const retried = ["transient", "crashed", "timeout"] as const
const kinds = ["cpus", "gpus", "memoryMiB"] as const

/** What is wrong, and what to do about it. */
type Wrong = readonly [message: string, advice?: string | undefined]

/** Throws where a stage cannot be what it is declared as. */
export const check = (name: string, options: object, at: Origin.Position | undefined): void => {
  const wrong = wrongName(name) ?? wrongOptions(name, options as Readonly<Record<string, unknown>>)
  if (wrong === undefined) return
  const [message, advice] = wrong
  throw new ConfigError({
    message,
    ...(at === undefined ? {} : { at: Origin.format(at) }),
    ...(advice === undefined ? {} : { advice })
  })
}

const wrongName = (name: unknown): Wrong | undefined => {
  if (typeof name !== "string" || !/^[a-z][a-z0-9-]*$/.test(name))
    return [`a stage's name consists of lower-case letters, digits and dashes, got ${Problem.describe(name)}`]
  return name.length > longestName
    ? [`a stage's name has at most ${longestName} characters, got ${name.length}: ${name.slice(0, 40)}…`]
    : undefined
}

const wrongOptions = (name: string, options: Readonly<Record<string, unknown>>): Wrong | undefined => {
  for (const field of ["inputs", "parameters", "outputs", "run"] as const) {
    if (options[field] !== undefined && options[field] !== null) continue
    const empty =
      field === "inputs" ? "inputs: {}" : field === "parameters" ? "parameters: Schema.Struct({})" : undefined
    const advice = empty === undefined ? undefined : `where there are none, write ${empty}`
    return [`stage ${name} has no ${field}`, advice]
  }
  const inputs = Object.keys(options["inputs"] as object)
  const outputs = Object.keys(options["outputs"] as object)
  if (outputs.length === 0) return [`stage ${name} has no output: nothing of it could be kept`]
  return (
    unknownKey(`stage ${name} has the option`, options, Object.keys(known)) ??
    wrongPorts(name, "input", inputs) ??
    wrongPorts(name, "output", outputs) ??
    wrongItems(name, options["items"], inputs) ??
    wrongFiles(name, options["files"]) ??
    wrongFunction(name, "run", options["run"]) ??
    wrongFunction(name, "identity", options["identity"]) ??
    (typeof options["resources"] === "function" ? undefined : wrongResources(`stage ${name}`, options["resources"])) ??
    wrongRetries(name, options["retries"]) ??
    wrongTimeout(name, options["timeout"]) ??
    wrongProcess(name, options["process"]) ??
    wrongSwitch(name, "executesCode", options["executesCode"])
  )
}

/** Names of ports become names of files and directories of the action. */
const wrongPorts = (name: string, what: string, ports: ReadonlyArray<string>): Wrong | undefined => {
  for (const port of ports) {
    if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(port) || port.length > longestName)
      return [
        `the name of an ${what} of stage ${name} consists of up to ${longestName} letters, digits, "_" and "-", got ${Problem.describe(port)}`
      ]
    if (what === "input" && port === "name")
      return [`stage ${name} has an input called name: in a call, that is the label of the use`]
  }
  return undefined
}

const wrongItems = (name: string, items: unknown, inputs: ReadonlyArray<string>): Wrong | undefined => {
  const named = isRecord(items) ? (items["inputs"] ?? []) : []
  const strange = Array.isArray(named) ? named.find(input => !inputs.includes(String(input))) : undefined
  return strange === undefined
    ? undefined
    : [`items of stage ${name} depend on input ${String(strange)}, which it does not have`]
}

const wrongFiles = (name: string, files: unknown): Wrong | undefined =>
  files === undefined || (Array.isArray(files) && files.every(file => typeof file === "string" && file !== ""))
    ? undefined
    : [`files of stage ${name} must be a list of paths relative to its module, got ${Problem.describe(files)}`]

const wrongFunction = (name: string, option: string, value: unknown): Wrong | undefined =>
  value === undefined || typeof value === "function"
    ? undefined
    : [`${option} of stage ${name} must be a function, got ${Problem.describe(value)}`]

/** What is wrong with resources that were asked for; `whose` begins the message. */
export const wrongResources = (whose: string, asked: unknown): Wrong | undefined => {
  if (asked === undefined) return undefined
  if (!isRecord(asked))
    return [`the resources of ${whose} must be a record like { cpus: 2, memoryMiB: 512 }, got ${describe(asked)}`]
  for (const kind of kinds) {
    const value = asked[kind]
    const least = kind === "memoryMiB" ? 1 : 0
    if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= least)) continue
    const fraction = typeof value === "number" && Number.isFinite(value) && value > least
    const message = `${kind} of ${whose} must be an integer of at least ${least}, got ${describe(value)}`
    return fraction && kind === "cpus"
      ? [message, "a processor is held whole, by one action: an action that needs less than one asks for 1"]
      : [message]
  }
  return unknownKey(`the resources of ${whose} have`, asked, kinds)
}

const wrongRetries = (name: string, retries: unknown): Wrong | undefined => {
  if (retries === undefined) return undefined
  if (!isRecord(retries))
    return [`retries of stage ${name} must be a record like { transient: 3 }, got ${describe(retries)}`]
  for (const kind of retried) {
    const value = retries[kind]
    if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)) continue
    return [`retries.${kind} of stage ${name} must be an integer of at least 0, got ${describe(value)}`]
  }
  return unknownKey(`retries of stage ${name} have`, retries, retried)
}

const wrongTimeout = (name: string, timeout: unknown): Wrong | undefined =>
  timeout === undefined || (typeof timeout === "number" && Number.isFinite(timeout) && timeout > 0)
    ? undefined
    : [
        `timeout of stage ${name} must be a finite number of seconds above 0, got ${describe(timeout)}`,
        "a stage that may take as long as it likes has none"
      ]

const wrongProcess = (name: string, process: unknown): Wrong | undefined =>
  process === undefined || process === "own" || process === "shared"
    ? undefined
    : [`process of stage ${name} must be "own" or "shared", got ${describe(process)}`]

const wrongSwitch = (name: string, option: string, value: unknown): Wrong | undefined =>
  value === undefined || typeof value === "boolean"
    ? undefined
    : [`${option} of stage ${name} must be true or false, got ${describe(value)}`]

const unknownKey = (whose: string, given: object, keys: ReadonlyArray<string>): Wrong | undefined => {
  const strange = Object.keys(given).find(key => !keys.includes(key))
  if (strange === undefined) return undefined
  const meant = closest(strange, keys)
  return [
    `${whose} ${strange}, which is not known`,
    meant === undefined ? `known are ${keys.join(", ")}` : `did you mean ${meant}?`
  ]
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise)

const describe = (value: unknown): string => (value instanceof Promise ? "a promise" : Problem.describe(value))
