/** Calls of libraries that do nothing but return a value: what they are given to call is called later, if at all. */

const oneOf = (names: string): RegExp => new RegExp(`^(?:${names.trim().replaceAll(/\s+/g, "|")})$`)

/**
 * Functions of effect, and of this program, that declare: a function among their arguments is not called at once. Each is named here: what is not on the
 * list may call what it is given, as `Effect.mapEager` does.
 */
const lazy: Readonly<Record<string, RegExp | undefined>> = {
  Effect: oneOf(`
    succeed fail die sync suspend promise tryPromise try gen fn fnUntraced callback map flatMap andThen tap tapError tapCause mapError mapBoth as asVoid
    catch catchTag catchTags catchIf catchCause catchDefect orElseSucceed match matchEffect matchCause matchCauseEffect option result exit orDie ignore
    provide provideService provideContext service scoped acquireRelease acquireUseRelease addFinalizer ensuring onExit onError onInterrupt
    uninterruptible interruptible sleep delay timeout timeoutOption withSpan annotateLogs filterOrFail flatten zip zipWith
    log logDebug logInfo logWarning logError`),
  Schema: oneOf(`
    Struct StructWithRest Tuple TupleWithRest Array NonEmptyArray UniqueArray Record Union Literal Literals Enum TemplateLiteral TaggedStruct TaggedUnion
    optional optionalKey mutable mutableKey required requiredKey readonlyKey NullOr UndefinedOr NullishOr Option OptionFrom\\w+ Redacted ReadonlyMap
    ReadonlySet Class TaggedClass Error ErrorClass TaggedError TaggedErrorClass Opaque brand suspend instanceOf declare declareConstructor
    check refine annotate annotateKey annotateEncoded makeFilter makeFilterGroup is(?=[A-Z])\\w+ is decode\\w* encode\\w* fromJsonString
    withConstructorDefault withDecodingDefault\\w* tag tagDefaultOmit fieldsAssign flip toType toEncoded`),
  SchemaTransformation: oneOf("transform transformEffect transformOptional"),
  Stage: oneOf("make"),
  Artifact: oneOf("kind chunkSet optional many named"),
  Pipeline: oneOf("make"),
  Layer: oneOf(`
    effect effectDiscard effectContext succeed succeedContext sync syncContext suspend merge mergeAll provide provideMerge empty fresh orDie unwrap`),
  Context: oneOf("Service Reference Tag Key make empty"),
  Data: oneOf("Error TaggedError Class TaggedClass"),
  Stream: oneOf("succeed fail sync suspend empty fromEffect map mapEffect filter flatMap tap concat take drop unwrap"),
  Schedule: oneOf("exponential spaced recurs fixed fibonacci jittered")
}

/** Namespaces whose functions call what they are given at once: pure as long as that is no function. */
const eager: Readonly<Record<string, RegExp | undefined>> = {
  Option: /^(?:some|none|fromNullishOr|fromUndefinedOr)$/,
  Result: /^(?:succeed|fail)$/,
  Duration: /^(?:millis|seconds|minutes|hours|days|weeks)$/
}

/** Functions whose result is called once more with what they declare: `Effect.fn("name")(body)`, `Schema.Class("Name")(fields)`. */
const curried: Readonly<Record<string, RegExp | undefined>> = {
  Effect: /^fn$/,
  Schema: /^(?:Class|TaggedClass|Error|ErrorClass|TaggedError|TaggedErrorClass|Opaque|brand)$/,
  Context: /^(?:Service|Tag|Reference)$/,
  Data: /^(?:TaggedError|TaggedClass)$/
}

/** Methods of values that these libraries made, with values that they made as arguments. */
export const pureMethods: ReadonlySet<string> = new Set(["pipe", "check", "annotate", "annotateKey"])

/** What `pipe` may be given: it calls it at once. `Effect.runSync` runs, and so does what `Schema.decodeSync(…)` returned. */
const runs = /^(?:(?:decode|encode)(?!To$|Keys$|edTo$)|is(?=$|[A-Z])|make)/

export const isPurePiped = (path: LibraryPath): boolean => isPureCall(path, false) && !runs.test(path[1] ?? "")

/** Functions of Node that only compute with texts and URLs. */
const ofNode: Readonly<Record<string, RegExp | undefined>> = {
  path: /^(?:join|resolve|dirname|basename|extname|relative|normalize)$/,
  url: /^(?:fileURLToPath|pathToFileURL)$/,
  module: /^createRequire$/
}

export const isPureOfNode = (specifier: string, name: string): boolean =>
  ofNode[specifier.replace(/^node:/, "")]?.test(name) === true

/** Single functions that are imported by their own name. */
const functions: ReadonlySet<string> = new Set(["permanent"])

/** Where a namespace of effect is imported from: `effect`, `effect/Schema`. */
export const isEffectName = (specifier: string): boolean =>
  specifier === "effect" || /^effect\/[A-Z]\w*$/.test(specifier)

/** The path of names from a library's import to what is meant: `["Schema", "Struct"]`. */
export type LibraryPath = ReadonlyArray<string>

export const isPureCall = ([namespace, name, ...more]: LibraryPath, passesFunction: boolean): boolean => {
  if (namespace === undefined || more.length > 0) return false
  if (name === undefined) return functions.has(namespace)
  return lazy[namespace]?.test(name) === true || (eager[namespace]?.test(name) === true && !passesFunction)
}

export const isPureCurriedCall = ([namespace, name, ...more]: LibraryPath): boolean =>
  namespace !== undefined && name !== undefined && more.length === 0 && curried[namespace]?.test(name) === true

/** Constructors of the language that neither fail nor do anything, given members that are written out. */
export const collections: ReadonlySet<string> = new Set(["Map", "Set", "WeakMap", "WeakSet"])
export const codecs: ReadonlySet<string> = new Set(["TextEncoder", "TextDecoder"])
export const isTypedArray = (name: string): boolean =>
  /^(?:(?:Big)?(?:Int|Uint)\d+(?:Clamped)?|Float\d+)Array$|^ArrayBuffer$/.test(name)
/** Holders of numbers: `Math.PI`, `Number.MAX_SAFE_INTEGER`. */
export const numberHolders: ReadonlySet<string> = new Set(["Math", "Number"])
/** Names that every module can read without more; what they hold is a constructor. */
export const constructors: ReadonlySet<string> = new Set(
  (
    "Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean Buffer DataView Date Error EvalError Float32Array Float64Array " +
    "Int16Array Int32Array Int8Array Map Number Object Promise RangeError RegExp Set SharedArrayBuffer String SyntaxError TextDecoder " +
    "TextEncoder TypeError URL URLSearchParams Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakSet"
  ).split(" ")
)
