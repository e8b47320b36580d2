/** What a command line loads before it answers: a verb that only looks must not bring the whole program with it. */
import { execFileSync, spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pipelines } from "../../pipelines/index.ts"
import { pageFile } from "../../src/cli/pages.ts"
import { evaluate } from "../../src/pipeline/Pipeline.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pipeline-startup-"))
  writeFileSync(
    join(folder, "watch.mjs"),
    `import { registerHooks } from "node:module"
     import { writeFileSync } from "node:fs"
     const files = []
     registerHooks({ load: (url, context, next) => (files.push(url), next(url, context)) })
     process.on("exit", () => {
       const builtins = process.moduleLoadList.filter(name => name.startsWith("NativeModule ")).map(name => name.slice(13))
       writeFileSync(process.env.LOADED, JSON.stringify({ files, builtins }))
     })`
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Names of the files and of Node's modules that were loaded, and what was printed. */
const loadedBy = (...words: ReadonlyArray<string>) => {
  const loaded = join(folder, "loaded.json")
  const printed = execFileSync(process.execPath, ["--import", join(folder, "watch.mjs"), main, ...words], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", LOADED: loaded }
  })
  const { builtins, files } = JSON.parse(execFileSync("cat", [loaded], { encoding: "utf8" })) as {
    builtins: ReadonlyArray<string>
    files: ReadonlyArray<string>
  }
  return { builtins, files: files.filter(url => url.startsWith("file:")), printed }
}

/** Large modules of Node that answering from the ledger needs none of. */
const large = ["child_process", "http", "readline", "v8"]

describe("start-up", () => {
  it.each([
    ["--help"],
    ["-h"],
    [],
    ["run", "--help"],
    ["cache", "usage", "--help"],
    ["--version"],
    ["completions", "bash"],
    ["list"],
    ["list", "--json"]
  ])("prints what the build prepared: %s %s %s", (...words) => {
    const { builtins, files, printed } = loadedBy(...words)
    assert.isAtMost(files.length, 4, files.join("\n"))
    assert.isNotEmpty(printed)
    for (const module of large) assert.notInclude(builtins, module)
  })

  it.each(["runs", "status"])("answers %s by the small program", verb => {
    const { builtins, files, printed } = loadedBy(verb)
    assert.include(printed, "nothing was ever run")
    assert.deepStrictEqual(others(files), [])
    for (const module of large) assert.notInclude(builtins, module)
  })

  const others = (files: ReadonlyArray<string>) =>
    files.filter(
      url => !/^(main|script-.*|rolldown-runtime-.*)\.js$/.test(basename(url)) && !url.includes("/better-sqlite3/")
    )

  it("answers why by the small program, and finds the line of a parameter by the whole one", async () => {
    const label = "train/no_align"
    const plan = evaluate((await pipelines["compare-50x"]!()).default)
    const now = JSON.parse(plan.nodes.find(node => node.label === label)!.parametersText) as { readonly lr: number }
    const asked = (command: string, ...words: ReadonlyArray<string>) => {
      const cache = mkdtempSync(join(folder, "asked-"))
      const script = new LedgerScript(join(cache, "ledger.db"))
      for (const [lr, given] of [
        [7, command],
        [now.lr, "pipeline run compare-50x"]
      ] as const)
        script.run({
          pipeline: "compare-50x",
          profile: "embedded",
          command: given,
          executes: [{ label, parameters: { ...now, lr } }]
        })
      script.database.close()
      return loadedBy("why", `compare-50x/${label}`, "--cache", cache, ...words)
    }
    const told = asked("pipeline run compare-50x --set train.lr=7")
    assert.include(told.printed, `7 → ${now.lr}  run 1 had --set train.lr=7`)
    assert.deepStrictEqual(others(told.files), [])
    const found = asked("pipeline run compare-50x")
    assert.match(found.printed, /7 → \S+ {2}\S*configs\/\w+\.yaml:\d+\n/)
    assert.include(asked("pipeline run compare-50x", "--next").printed, "cannot be known yet")
  })

  it("loads neither bundler nor engines for other verbs that look", () => {
    for (const words of [["pin", "--list"], ["cache", "usage"], ["gc"]]) {
      const { files } = loadedBy(...words)
      assert.deepStrictEqual(
        files.filter(url => /\/node_modules\/(rolldown|onnxruntime-node)\//.test(url)),
        []
      )
    }
  })

  it("names the files of pages so that no words lead elsewhere", () => {
    assert.strictEqual(pageFile(["run", "--help"], false), "page.run.--help.txt")
    assert.notInclude(pageFile(["../../x", "a/b\\c"], true), "/")
  })
})

describe("the launcher of a checkout", () => {
  it("runs no program of other sources: where the build fails, nothing is run", () => {
    const checkout = join(folder, "checkout")
    for (const part of ["bin", "dist", "scripts"]) mkdirSync(join(checkout, part), { recursive: true })
    copyFileSync(fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url)), join(checkout, "bin/pipeline.mjs"))
    writeFileSync(join(checkout, "package.json"), `{ "type": "module" }`)
    writeFileSync(join(checkout, "dist/main.js"), `console.log("what was built before")`)
    writeFileSync(join(checkout, "scripts/build.ts"), `console.error("line 1: it does not parse"); process.exit(1)`)
    const ended = spawnSync(process.execPath, [join(checkout, "bin/pipeline.mjs"), "run"], { encoding: "utf8" })
    assert.deepStrictEqual([ended.status, ended.stdout], [1, ""])
    assert.include(ended.stderr, "line 1: it does not parse")
    assert.include(ended.stderr, "could not be built from its sources")
  })
})
