import { chmodSync, copyFileSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const folder = temporaryDirectory()
const fixture = fileURLToPath(new URL("fixtures/demo.ts", import.meta.url))

/** Every file and directory below, with size and time of change. */
const listing = (directory: string) =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .map(entry => {
      const path = join(entry.parentPath, entry.name)
      const { mtimeMs, size } = statSync(path)
      return `${path} ${entry.isDirectory() ? "" : `${size} ${mtimeMs}`}`
    })
    .sort()

/** A question for every verb that only looks. */
const questions: ReadonlyArray<ReadonlyArray<string>> = [
  ["status"],
  ["runs"],
  ["show", "last"],
  ["show", "demo/upper/alpha"],
  ["why", "demo"],
  ["why", "./demo.ts", "--next"],
  ["lineage", "demo/bag"],
  ["query", "--named", "metrics"],
  ["diff", "1", "2"],
  ["metrics", "last"],
  ["plan", "./demo.ts"]
]

beforeAll(() => {
  copyFileSync(fixture, join(folder.path, "demo.ts"))
  assert.strictEqual(pipeline(folder.path, ["run", "./demo.ts"]).code, 0)
  assert.strictEqual(pipeline(folder.path, ["run", "./demo.ts", "--set", "upper/beta.times=2"]).code, 0)
}, 120_000)

afterAll(() => folder.remove())

describe("verbs that only look", () => {
  it.each(questions.map(words => [words.join(" "), words] as const))(
    "%s changes and creates nothing",
    { timeout: 30_000 },
    (_, words) => {
      const before = listing(folder.path)
      const answer = pipeline(folder.path, words)
      assert.strictEqual(answer.code, 0, answer.stderr)
      assert.isNotEmpty(answer.stdout)
      assert.deepStrictEqual(listing(folder.path), before)
    }
  )

  it("read a cache whose directory may not be written", { timeout: 60_000 }, () => {
    const cache = join(folder.path, "cache")
    chmodSync(cache, 0o555)
    try {
      for (const words of [["status"], ["show", "demo/bag"], ["lineage", "demo/bag"]]) {
        const answer = pipeline(folder.path, words)
        assert.strictEqual(answer.code, 0, answer.stderr)
      }
    } finally {
      chmodSync(cache, 0o755)
    }
  })

  it("say so where nothing was ever run, and create no cache", { timeout: 120_000 }, () => {
    const empty = temporaryDirectory()
    try {
      copyFileSync(fixture, join(empty.path, "demo.ts"))
      const before = listing(empty.path)
      for (const words of questions) {
        const answer = pipeline(empty.path, words)
        const verb = words[0]!
        const knows = verb === "status" || verb === "runs" || verb === "plan" || words.includes("--next")
        assert.strictEqual(answer.code, knows ? 0 : 2, `${words.join(" ")}: ${answer.stderr}`)
        if (!knows) assert.include(answer.stderr, "nothing was ever run")
      }
      assert.deepStrictEqual(listing(empty.path), before)
    } finally {
      empty.remove()
    }
  })

  it.each([
    [["show", "zzz"], /not known/],
    [["show", "demo/bgg"], /did you mean demo\/bag/],
    [["lineage", "demo/bag", "--depth", "0"], /at least 1/],
    [["lineage", "demo/upper/alpha", "--items"], /no chunk set/],
    [["query", "DELETE FROM run"], /would change the ledger/],
    [["query", "SELECT x FROM nowhere"], /no such table: nowhere/],
    [["query"], /give SQL/],
    [["query", "--named", "falures"], /did you mean failures/],
    [["diff", "1"], /two runs or more/],
    [["diff", "1", "99"], /no such run/],
    [["metrics", "last", "--svg", "/nowhere/at/all.svg"], /cannot be written/],
    [["runs", "--limit", "0"], /at least 1/],
    [["status", "other"], /never run/],
    [["why", "demo/bag", "--set", "upper.times=3"], /goes with --next/],
    [["why", "demo/bgg"], /did you mean demo\/bag/]
  ] as const)(
    "%j is wrong usage: exit code 2, the reason on stderr, nothing on stdout",
    { timeout: 30_000 },
    (words, reason) => {
      const answer = pipeline(folder.path, words)
      assert.strictEqual(answer.code, 2, answer.stderr)
      assert.match(answer.stderr, reason)
      assert.strictEqual(answer.stdout, "")
    }
  )

  it("colours appear only where they are wanted", { timeout: 30_000 }, () => {
    assert.notInclude(pipeline(folder.path, ["runs"]).stdout, "\u001B[")
    assert.notInclude(pipeline(folder.path, ["runs"], { FORCE_COLOR: "1" }).stdout, "\u001B[", "NO_COLOR counts more")
  })

  it("a query that takes too long is stopped, with exit code 1", { timeout: 30_000 }, () => {
    const endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    const answer = pipeline(folder.path, ["query", endless, "--timeout", "1"])
    assert.strictEqual(answer.code, 1)
    assert.include(answer.stderr, "took longer than 1 s")
  })

  it("--set is named as the source of a change", { timeout: 30_000 }, () => {
    const answer = pipeline(folder.path, ["why", "./demo.ts/upper/beta"])
    assert.match(answer.stdout, /^ran because one part of its key changed since run 1 /)
    assert.match(answer.stdout, /parameters\.times +1 → 2 +--set upper\/beta\.times=2/)
    assert.match(answer.stdout, /unchanged: code [0-9a-f]{4} · text [0-9a-f]{4}/)
  })

  it("why --next explains what a run would do, without the override that the last run had", { timeout: 30_000 }, () => {
    const now = pipeline(folder.path, ["why", "./demo.ts/upper", "--next"])
    assert.match(now.stdout, /would be reused/)
    const changed = pipeline(folder.path, ["why", "./demo.ts", "--next", "--set", "upper.times=5"])
    assert.match(changed.stdout, /upper\/alpha\n +would run because one part of its key changed/)
    assert.match(changed.stdout, /bag\n +cannot be known yet: its key depends on upper\/alpha, upper\/beta/)
  })

  it("show --log prints what an action printed", { timeout: 30_000 }, () => {
    assert.include(pipeline(folder.path, ["show", "demo/source/beta", "--log"]).stdout, "writing beta")
  })

  it("JSON on stdout is JSON, for every verb", { timeout: 60_000 }, () => {
    for (const words of questions.filter(([verb]) => verb !== "plan")) {
      const answer = pipeline(folder.path, [...words, "--json"])
      assert.doesNotThrow(() => JSON.parse(answer.stdout), undefined, words.join(" "))
    }
  })

  it("a chart is one well-formed SVG", { timeout: 30_000 }, () => {
    const answer = pipeline(folder.path, ["metrics", "last", "--svg", join(folder.path, "chart.svg")])
    assert.strictEqual(answer.code, 0, answer.stderr)
    assert.isAbove(statSync(join(folder.path, "chart.svg")).size, 500)
  })
})
