/** Wrong wiring does not compile: the compiler's verdict on small pipeline files, line by line. */
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "vitest"

const root = join(import.meta.dirname, "../..")
const fixtures = join(import.meta.dirname, "type-fixtures")
const names = readdirSync(fixtures).map(name => basename(name, ".ts.txt"))
const sourceOf = (name: string) => readFileSync(join(fixtures, `${name}.ts.txt`), "utf8")

/** Lines with errors, by fixture. */
const errors = new Map<string, Array<{ readonly line: number; readonly message: string }>>()
let output = ""
let folder = ""

beforeAll(async () => {
  // Below the repository, so that the packages are found; below node_modules, so that nothing else sees the files.
  const cache = join(root, "node_modules/.cache")
  mkdirSync(cache, { recursive: true })
  folder = mkdtempSync(join(cache, "type-fixtures-"))
  for (const name of names) writeFileSync(join(folder, `${name}.ts`), sourceOf(name))
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      extends: "../../../tsconfig.json",
      compilerOptions: { paths: { "dllm-pipeline": ["../../../src/index.ts"] } },
      include: [],
      files: names.map(name => `${name}.ts`)
    })
  )
  const compiler = join(root, "node_modules/typescript/bin/tsc")
  output = await promisify(execFile)(process.execPath, [compiler, "-p", folder, "--pretty", "false"], {
    cwd: folder
  }).then(
    result => result.stdout,
    (failure: { readonly stdout: string; readonly stderr: string }) => failure.stdout + failure.stderr
  )
  for (const [, file, line, message] of output.matchAll(/^([^\s(]+)\((\d+),\d+\): error (TS\d+: .*)$/gm)) {
    const name = basename(file!, ".ts")
    errors.set(name, [...(errors.get(name) ?? []), { line: Number(line), message: message! }])
  }
}, 60_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Numbers of the lines that end with a remark on what is wrong in them. */
const marked = (source: string) =>
  source.split("\n").flatMap((text, i) => (/\S.* \/\/ \S/.test(text) ? [{ line: i + 1, text }] : []))

describe("the compiler", () => {
  it("accepts right wiring", () => {
    assert.deepStrictEqual(errors.get("right") ?? [], [], output)
    assert.deepStrictEqual(errors.get("stages") ?? [], [], output)
  })

  it.each(names.filter(name => name.startsWith("wrong")))("%s: refuses every marked line and no other", name => {
    const expected = marked(sourceOf(name))
    assert.isAbove(expected.length, 3)
    const found = new Set((errors.get(name) ?? []).map(({ line }) => line))
    assert.deepStrictEqual(
      {
        accepted: expected.filter(({ line }) => !found.has(line)).map(({ text }) => text),
        elsewhere: [...found].filter(line => !expected.some(e => e.line === line))
      },
      { accepted: [], elsewhere: [] },
      output
    )
  })

  it("finds nothing outside the fixtures", () => {
    assert.deepStrictEqual(
      [...errors.keys()].filter(name => !names.includes(name)),
      [],
      output
    )
  })

  it("names both kinds where one stands for the other", () => {
    const line = marked(sourceOf("wrongInputs")).find(({ text }) => text.endsWith("anchors where tokens belong"))!.line
    const message = errors.get("wrongInputs")!.find(error => error.line === line)!.message
    assert.match(message, /TS2322: .*"anchors".*"tokens"/)
  })
})
