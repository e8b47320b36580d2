/** Models whose files disagree (the table in docs/models.md), beside transformers and peft. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, it } from "vitest"
import { disagreements, lossesIn, spoken, writeFolder } from "../support/disagreements.ts"
import { python } from "./python.ts"

type Reply =
  | { readonly error: string }
  | {
      readonly losses: ReadonlyArray<number>
      readonly ends: ReadonlyArray<number>
      readonly ids: { readonly [token: string]: number }
    }

const directory = mkdtempSync(join(tmpdir(), "interop-disagreements-"))
const places = disagreements.map((_, i) => join(directory, String(i)))
let replies: ReadonlyArray<Reply> = []
beforeAll(async () => {
  for (const [i, { edit }] of disagreements.entries()) await writeFolder(places[i]!, edit)
  replies = python<ReadonlyArray<Reply>>("disagreements.py", {
    spoken,
    rows: disagreements.map(({ ids = {} }, i) => ({ directory: places[i], tokens: Object.keys(ids) }))
  })
}, 300_000)
afterAll(() => rmSync(directory, { recursive: true }))

it.each(disagreements.map((row, i) => [row.name, row, i] as const))(
  "%s",
  async (_, { ends = [], ids = {}, ours, theirs }, i) => {
    const reply = replies[i]!
    expect("error" in reply ? `fails: ${reply.error}` : "loads").toMatch(new RegExp(`^${theirs}`))
    if ("error" in reply || "refused" in ours) return
    const losses = await lossesIn(places[i]!)
    for (const [token, loss] of reply.losses.entries()) expect(losses[token]).toBeCloseTo(loss, 4)
    expect(reply.ids).toEqual(ids)
    // The tokenizer's own end of text ends a text here in any case.
    for (const end of reply.ends) expect(ends).toContain(end)
  }
)
