/** The tokens that end a text: the tokenizer's own, and those that a chat model's files name beside it. */
import { Effect } from "effect"
import { readText } from "../formats/textFile.ts"
import type { OpenModel } from "../models/artifact.ts"
import { describe, messageOf } from "../pipeline/Problem.ts"
import { permanent } from "../pipeline/StageError.ts"

const generationConfigFile = "generation_config.json"

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** `eos_token_id` of `generation_config.json`, or else of `config.json`: one token or several. */
export const endsOf = Effect.fnUntraced(function* (
  { json, tokenizer }: Pick<OpenModel, "json" | "tokenizer">,
  files: ReadonlyArray<{ readonly name: string; readonly path: string }>
) {
  const file = files.find(({ name }) => name === generationConfigFile)
  const text = file === undefined ? "{}" : yield* readText(file.path, generationConfigFile)
  const generation = yield* Effect.try({
    try: () => JSON.parse(text) as { readonly [field: string]: unknown } | null,
    catch: cause => permanent(`${generationConfigFile}: ${messageOf(cause)}`)
  })
  const named = generation?.["eos_token_id"] ?? json["eos_token_id"] ?? []
  const ids: ReadonlyArray<unknown> = Array.isArray(named) ? named : [named]
  const wrong = ids.find(id => !isId(id))
  if (wrong !== undefined)
    return yield* permanent(`eos_token_id of the model's configuration is ${describe(wrong)}; it must be a token's id`)
  return new Set([tokenizer.eosId, ...(ids as ReadonlyArray<number>)])
})
