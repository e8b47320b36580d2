/** The real program on a user's file: an edit is seen, and what runs is what the key was made from. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, it, onTestFinished } from "vitest"
import { program } from "../support/program.ts"

const pipeline = (imports: string, body: string, options = "") => `
import { Artifact, Effect, Pipeline, Schema, Stage } from "dllm-pipeline"
${imports}
const T = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })
export const say = Stage.make("say", { inputs: {}, parameters: Schema.Struct({}), outputs: { t: T }, ${options}
  run: Effect.fn("say")(function* ({ outputs }) {
    ${body}
    yield* outputs.t.write("t.txt", String(value)); yield* outputs.t.metadata({}) }) })
export default Pipeline.make("w", { description: "d", profiles: { p: { description: "p", needs: "nothing", make: () => ({}) } } }, () => say({}))
`

const folder = () => {
  const cwd = mkdtempSync(join(tmpdir(), "exact-code-"))
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }))
  const write = (file: string, text: string) => writeFileSync(join(cwd, file), text)
  write("package.json", `{ "type": "module" }`)
  const run = () => program(["run", "w.ts", "--json"], { cwd })
  const text = async () => {
    await program(["cache", "restore", "w/say", "--to", "o"], { cwd })
    const found = readFileSync(join(cwd, "o", "t.txt"), "utf8")
    rmSync(join(cwd, "o"), { recursive: true })
    return found
  }
  return { cwd, write, run, text }
}

it("the result is that of the code of now, also when a constant of one character changed", async () => {
  const { run, text, write } = folder()
  write("w.ts", pipeline(`import { value } from "./c.ts"`, ""))
  for (const value of ["4", "8"]) {
    write("c.ts", `export const value = ${value}`)
    const { code, stderr } = await run()
    assert.strictEqual(code, 0, stderr)
    assert.strictEqual(await text(), value)
  }
})

it("a module that changes before it is loaded ends the attempt, even where the stage catches that; the next has the right key", async () => {
  const { cwd, run, text, write } = folder()
  // The stage itself edits, so that nothing depends on time: once, as the second attempt finds the file as it wants it.
  write(
    "w.ts",
    pipeline(
      `import { readFileSync, writeFileSync } from "node:fs"`,
      `const late = new URL("./late.ts", import.meta.url)
       if (readFileSync(late, "utf8").includes("4")) writeFileSync(late, "export const v = 8")
       const value = yield* Effect.promise(() => import("./late.ts").then(({ v }) => v, () => "caught"))`
    )
  )
  write("late.ts", "export const v = 4")
  const { code, stderr, stdout } = await run()
  assert.strictEqual(code, 0, stderr)
  assert.include(stdout, "late.ts changed")
  assert.strictEqual(await text(), "8")
  assert.strictEqual(readFileSync(join(cwd, "late.ts"), "utf8"), "export const v = 8")
  assert.include((await run()).stdout, `"executed":0`)
})

const ways: { readonly [how: string]: readonly [imports: string, value: string, late: (value: string) => string] } = {
  "is loaded": [
    "",
    `import("./" + "late.ts").then(({ v }) => v, () => "caught")`,
    value => `export const v = ${value}`
  ],
  "a thread begins with": [
    `import { Worker } from "node:worker_threads"`,
    `new Promise(done => new Worker(new URL("./" + ["late", "ts"].join("."), import.meta.url)).once("message", done).once("error", done))`,
    value => `import { parentPort } from "node:worker_threads"; parentPort.postMessage(${value})`
  ]
}
for (const [how, [imports, expression, late]] of Object.entries(ways))
  it(`a module that ${how} under a computed name is refused, unless the stage declares it`, async () => {
    const { run, text, write } = folder()
    const body = `const value = yield* Effect.promise(() => ${expression})`
    write("late.ts", late("4"))
    write("w.ts", pipeline(imports, body))
    const { code, stdout } = await run()
    assert.strictEqual(code, 1)
    assert.include(stdout, "late.ts, which its key does not cover")
    write("w.ts", pipeline(imports, body, `files: ["./late.ts"],`))
    for (const value of ["4", "8"]) {
      write("late.ts", late(value))
      assert.strictEqual((await run()).code, 0)
      assert.strictEqual(await text(), value)
    }
  })
