/** The tokens that end a text: the tokenizer's own, and those that a model's files name beside it. */
import { Effect } from "effect"
import type { NamedFile } from "../formats/tensorFiles.ts"
import { readText } from "../formats/textFile.ts"
import { describe, messageOf } from "../pipeline/Problem.ts"
import { permanent } from "../pipeline/StageError.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"

const generationConfigFile = "generation_config.json"

type Json = { readonly [field: string]: unknown }

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/** `eos_token_id` where a file has one, as a list; a model around a text model may say it of both. */
const named = (json: Json, file: string) => {
  const { eos_token_id: outer, text_config: text } = json
  const value = outer ?? (isObject(text) ? text["eos_token_id"] : undefined)
  if (value === undefined || value === null) return Effect.succeed(undefined)
  const ids: ReadonlyArray<unknown> = Array.isArray(value) ? value : [value]
  const wrong = ids.find(id => !isId(id))
  return wrong === undefined
    ? Effect.succeed(ids as ReadonlyArray<number>)
    : Effect.fail(permanent(`${file}: eos_token_id is ${describe(wrong)}; it must be a token's id, or a list of them`))
}

/**
 * As transformers generates, `eos_token_id` of `generation_config.json` counts, or else that of `config.json`: one token or several. The tokenizer's end of text ends a text in any case: documents of a training
 * end with it.
 */
export const endsOf = Effect.fnUntraced(function* (
  json: Json,
  { eosId }: Pick<Tokenizer, "eosId">,
  files: ReadonlyArray<NamedFile>
) {
  const file = files.find(({ name }) => name === generationConfigFile)
  const text = file === undefined ? "{}" : yield* readText(file.path, generationConfigFile)
  const generation = yield* Effect.try({
    try: () => JSON.parse(text) as unknown,
    catch: cause => permanent(`${generationConfigFile}: ${messageOf(cause)}`)
  })
  if (!isObject(generation))
    return yield* permanent(`${generationConfigFile}: must hold an object, got ${describe(generation)}`)
  // Both are looked at, so that what is wrong in one is not hidden by the other.
  const ofModel = yield* named(json, "config.json")
  const ids = (yield* named(generation, generationConfigFile)) ?? ofModel ?? []
  return new Set([eosId, ...ids]) as ReadonlySet<number>
})

/** `eos_token_id` of a model's `config.json` where no `generation_config.json` goes before it: as many as end its texts. */
export const endsField = (ends: ReadonlySet<number>) => {
  const ids = [...ends]
  return { eos_token_id: ids.length === 1 ? ids[0] : ids }
}
