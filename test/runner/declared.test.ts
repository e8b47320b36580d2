/** Files that a stage declares are read whenever it likes: one that was another for a while makes its result one of nobody knows what. */
import { existsSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { makeFixture } from "./smallFixture.ts"

const quoting = `
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
const Text = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })
import { value } from "p1"
const worker = new URL("./worker.mjs", import.meta.url)
export const quote = Stage.make("quote", { inputs: {}, parameters: Schema.Struct({}), outputs: { text: Text }, files: ["./one.txt", "./more"],
  run: Effect.fn("quote")(function* ({ outputs }) {
    writeFileSync("begun", "")
    while (existsSync("hold")) yield* Effect.sleep(20)
    yield* outputs.text.write("t", readFileSync("one.txt", "utf8") + readFileSync("more/two.txt", "utf8") + value + readFileSync(worker, "utf8"))
    yield* outputs.text.metadata({})
    writeFileSync("read", "")
    while (existsSync("hold-end")) yield* Effect.sleep(20)
  }) })
export default Pipeline.make("q",
  { description: "d", profiles: { p: { description: "p", needs: "nothing", make: () => ({}) } } },
  () => ({ quote: quote({}) }))
`

const content = (name: string) => (name.endsWith(".js") ? "export const value = 1" : "")

describe("a file that a stage declares, or that no hook compares, and that is another one while the real program runs", () => {
  for (const name of ["one.txt", "more/two.txt", "node_modules/p1/i.js", "worker.mjs"]) {
    it(`is put back before the end: what was read of ${name} is dropped`, async () => {
      const fixture = makeFixture([])
      const at = (file: string) => join(fixture.folder, file)
      const until = async (file: string) => {
        while (!existsSync(at(file))) await new Promise(resolve => setTimeout(resolve, 20))
      }
      mkdirSync(at("more"))
      mkdirSync(at("node_modules/p1"), { recursive: true })
      fixture.write("node_modules/p1/package.json", `{ "name": "p1", "type": "module", "exports": "./i.js" }`)
      fixture.write("node_modules/p1/i.js", content("node_modules/p1/i.js"))
      fixture.write("q.ts", quoting)
      for (const file of ["one.txt", "more/two.txt", "worker.mjs", "hold", "hold-end"]) fixture.write(file, "")
      const { ended } = fixture.start(["run", "./q.ts"])
      await until("begun")
      fixture.write(name, "wrong")
      rmSync(at("hold"))
      await until("read")
      fixture.write(name, content(name))
      rmSync(at("hold-end"))
      const { code, stderr } = await ended
      assert.strictEqual(code, 0, stderr)
      assert.include(stderr, `${name.replace(/(?<=p1)\/.*/, "")} was written to`)
      const statuses = fixture.query<{ status: string }>("SELECT status FROM execution ORDER BY id")
      assert.deepStrictEqual(
        statuses.map(({ status }) => status),
        ["failed", "done"]
      )
    })
  }
})
