/** Where two files of a model disagree, the model is the one that transformers makes of them, or it is refused and both places are named (the table in docs/models.md). */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Option } from "effect"
import { afterAll, describe, expect, it } from "vitest"
import { contextOf } from "../../src/cli/verbs/generate/answering.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { loadModel, type LoadedModel, withDtype } from "../../src/models/artifact.ts"
import { countParameters } from "../../src/models/config.ts"
import { disagreements, type Edit, eos, filesIn, lossesIn, writeFolder } from "../support/disagreements.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const directory = temporaryDirectory()
afterAll(() => directory.remove())
let folders = 0

const written = async (edit: Edit): Promise<string> => {
  const path = join(directory.path, String(folders++))
  await writeFolder(path, edit)
  return path
}
const opened = async <A>(edit: Edit, use: (model: LoadedModel) => A): Promise<A> => {
  const files = filesIn(await written(edit))
  return Effect.runPromise(Effect.scoped(Effect.map(loadModel(makeReference(), files), use)))
}
const lossesOf = async (edit: Edit) => lossesIn(await written(edit))

describe("where files disagree", () => {
  it.each(disagreements.map(row => [row.name, row] as const))(
    "%s",
    async (_, { edit, ends = [eos], ids = {}, ours }) => {
      if ("refused" in ours) {
        await expect(opened(edit, () => undefined)).rejects.toThrow(ours.refused)
        return
      }
      expect(await lossesOf(edit)).toEqual(await lossesOf(ours.as))
      await opened(edit, ({ tokenizer }) => {
        expect([...tokenizer.ends]).toEqual(ends)
        for (const [token, id] of Object.entries(ids)) expect(tokenizer.idOf(token)).toBe(id)
      })
    }
  )

  it("rows are told apart by what they compute", async () => {
    const changed = disagreements.filter(({ name }) => /other numbers|rope_theta|rope_scaling/.test(name))
    const plain = await lossesOf(() => {})
    expect(changed).toHaveLength(3)
    for (const { edit } of changed) expect(await lossesOf(edit)).not.toEqual(plain)
  })

  it("a head of its own is a parameter of its own, and config.json says so", async () => {
    const edit = disagreements.find(({ name }) => name.includes("other numbers"))!.edit
    const tied = await opened(
      () => {},
      ({ config }) => countParameters(config)
    )
    await opened(edit, ({ config, json }) => {
      expect(countParameters(config)).toBe(tied + config.vocabSize * config.hiddenSize)
      expect(json["tie_word_embeddings"]).toBe(false)
    })
  })

  it("a text has as many tokens as config.json has positions, whatever model_max_length says", async () => {
    const edit = disagreements.find(({ name }) => name.includes("model_max_length"))!.edit
    await opened(edit, model => expect(Effect.runSync(contextOf(model, Option.none()))).toBe(64))
  })

  it("a dtype is written once", () => {
    expect(withDtype({ a: 1, dtype: "bfloat16", torch_dtype: "bfloat16" }, "float32")).toEqual({
      a: 1,
      torch_dtype: "float32"
    })
  })

  it("every row stands in the table of docs/models.md, and no other", () => {
    const text = readFileSync(join(import.meta.dirname, "../../docs/models.md"), "utf8")
    const table = text.slice(text.indexOf("| where files disagree |"))
    const rows = table.slice(0, table.indexOf("\n\n")).split("\n").slice(2)
    expect(rows.map(line => line.split("|")[1]!.trim())).toEqual(disagreements.map(({ name }) => name))
  })
})
