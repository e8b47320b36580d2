import { assert, describe, it } from "vitest"
import { markArtifacts } from "../../src/ledger/Actions.ts"
import { differences, jsonDifferences } from "../../src/ledger/Difference.ts"
import {
  executionColumns,
  type ExecutionRow,
  type Explained,
  explainExecution,
  reasonFor,
  smallestDifference
} from "../../src/ledger/Why.ts"
import { nearest } from "../../src/ledger/Nearest.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { actionKey } from "../../src/pipeline/Key.ts"
import { componentsFor, detailOf, LedgerScript, type Work } from "../support/ledgerScript.ts"

/** Explains the last execution of a label. */
const explain = (script: LedgerScript, label: string): Explained =>
  explainExecution(
    script.database,
    script.database.get<ExecutionRow>(
      `SELECT ${executionColumns} FROM execution WHERE label = ? ORDER BY execution.id DESC LIMIT 1`,
      label
    )!
  )

/** The differences that are named after a run with `before` and one with `after`. */
const between = (before: Omit<Work, "label">, after: Omit<Work, "label">) => {
  const script = new LedgerScript()
  for (const text of ["a", "b", "c"])
    script.run({
      pipeline: "source",
      executes: [{ label: `source/${text}`, parameters: { text }, outputs: { out: text } }]
    })
  script.run({ executes: [{ label: "train", ...before }] })
  script.run({ executes: [{ label: "train", ...after }] })
  const { reason } = explain(script, "train")
  assert.strictEqual(reason._tag, "changed")
  if (reason._tag !== "changed") throw new Error("not changed")
  return reason.explanation
}

const artifacts = (() => {
  const script = new LedgerScript()
  const [a, b, c] = ["a", "b", "c"].map(
    text =>
      script.run({ executes: [{ label: `source/${text}`, parameters: { text }, outputs: { out: text } }] }).done[0]!
        .outputs["out"]!
  )
  return { a: a!, b: b!, c: c! }
})()

const brief = ({
  differences: found
}: {
  readonly differences: ReadonlyArray<{ readonly component: string; readonly before: string; readonly after: string }>
}) => found.map(({ after, before, component }) => `${component}: ${before} → ${after}`)

describe("why names the smallest part that differs", () => {
  it("a parameter, by its path", () => {
    assert.deepStrictEqual(
      brief(
        between({ parameters: { lr: 1, deep: { a: [1, 2, 3] } } }, { parameters: { lr: 0.5, deep: { a: [1, 2, 3] } } })
      ),
      ["parameters.lr: 1 → 0.5"]
    )
    assert.deepStrictEqual(
      brief(
        between({ parameters: { deep: { a: [1, { b: 2 }, 3] } } }, { parameters: { deep: { a: [1, { b: 9 }, 3] } } })
      ),
      ["parameters.deep.a[1].b: 2 → 9"]
    )
    assert.deepStrictEqual(brief(between({ parameters: { layers: [1, 2] } }, { parameters: { layers: [1, 2, 3] } })), [
      "parameters.layers: [1,2] → [1,2,3]"
    ])
  })

  it("a parameter that is new, or gone", () => {
    assert.deepStrictEqual(brief(between({ parameters: {} }, { parameters: { seed: 1 } })), [
      "parameters.seed: absent → 1"
    ])
    assert.deepStrictEqual(brief(between({ parameters: { seed: null } }, { parameters: {} })), [
      "parameters.seed: null → absent"
    ])
  })

  it("the engine", () => {
    assert.deepStrictEqual(brief(between({ engine: "ort/cpu/f32" }, { engine: "torch/cuda/bf16" })), [
      "engine: ort/cpu/f32 → torch/cuda/bf16"
    ])
  })

  it("a module, or a package, of the code", () => {
    const code = {
      modules: { "stages/train.ts": "1".repeat(64), "src/loop.ts": "2".repeat(64) },
      packages: { effect: "4.1.0" }
    }
    assert.deepStrictEqual(
      brief(between(code, { ...code, modules: { ...code.modules, "src/loop.ts": "3".repeat(64) } })),
      ["code src/loop.ts: 22222222 → 33333333"]
    )
    assert.deepStrictEqual(brief(between(code, { ...code, packages: { effect: "4.2.0" } })), [
      "package effect: 4.1.0 → 4.2.0"
    ])
    assert.deepStrictEqual(brief(between(code, { ...code, packages: { ...code.packages, zod: "1.0.0" } })), [
      "package zod: absent → 1.0.0"
    ])
  })

  it("the code as a whole, when its parts are not known", () => {
    const one = componentsFor({ label: "train", modules: { a: "1" } })
    const two = componentsFor({ label: "train", modules: { a: "2" } })
    assert.deepStrictEqual(
      brief({ differences: differences(one, two, detailOf({ label: "train", modules: { a: "1" } }), undefined) }),
      [`code: ${one.code.slice(0, 12)} → ${two.code.slice(0, 12)}`]
    )
  })

  it("an input: other bytes, another list, another name, another order", () => {
    const { a, b, c } = artifacts
    const short = (digest: string) => digest.slice(0, 12)
    assert.deepStrictEqual(brief(between({ inputs: { text: a } }, { inputs: { text: b } })), [
      `input text: ${short(a)} → ${short(b)}`
    ])
    assert.deepStrictEqual(brief(between({ inputs: { texts: [a, b] } }, { inputs: { texts: [a, c] } })), [
      `input texts[1]: ${short(b)} → ${short(c)}`
    ])
    assert.deepStrictEqual(brief(between({ inputs: { texts: [a] } }, { inputs: { texts: [a, b] } })), [
      `input texts: ${short(a)} → ${short(a)}, ${short(b)}`
    ])
    assert.deepStrictEqual(brief(between({ inputs: { "rows.x": a } }, { inputs: { "rows.y": a } })), [
      `input rows.x: ${short(a)} → absent`,
      `input rows.y: absent → ${short(a)}`
    ])
    assert.deepStrictEqual(brief(between({ inputs: { x: a, y: b } }, { inputs: { y: b, x: a } })), [
      "order of inputs: x, y → y, x"
    ])
  })

  it("every part that changed, when several did, and what stayed", () => {
    const { a, b } = artifacts
    const found = between(
      { parameters: { lr: 1 }, engine: "ort/cpu/f32", inputs: { text: a, other: b } },
      { parameters: { lr: 2 }, engine: "ort/cpu/f32", inputs: { text: b, other: b } }
    )
    assert.deepStrictEqual(
      found.differences.map(({ component }) => component),
      ["parameters.lr", "input text"]
    )
    assert.deepStrictEqual(
      found.unchanged.map(text => text.split(" ")[0]),
      ["code", "other", "engine"]
    )
    assert.match(found.summary, /^parameters\.lr: 1 → 2, and 1 more$/)
  })
})

describe("why compares with the nearest earlier action", () => {
  const work = (lr: number, decay: number): Work => ({ label: "train", parameters: { lr, decay } })

  it("the one with the fewest differences, of equals the latest", () => {
    const script = new LedgerScript()
    script.run({ executes: [work(1, 1)] })
    script.run({ executes: [work(2, 2)] })
    script.run({ executes: [work(3, 1)] })
    script.run({ executes: [work(4, 1)] })
    const { reason } = explain(script, "train")
    assert.deepInclude(reason, { _tag: "changed" })
    if (reason._tag !== "changed") return
    assert.strictEqual(reason.since.run, 3)
    assert.deepStrictEqual(brief(reason.explanation), ["parameters.lr: 3 → 4"])
  })

  it("since the last run that used it, executed or reused", () => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [work(1, 1)] })
    script.run({ reuses: done })
    script.run({ reuses: done })
    script.run({ executes: [work(2, 1)] })
    const { reason } = explain(script, "train")
    assert.deepInclude(reason._tag === "changed" ? reason.since : {}, { run: 3 })
  })

  it("never with a later one, nor with another label", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "train/a", parameters: { lr: 1 } }] })
    script.run({ executes: [{ label: "train/b", parameters: { lr: 2 } }] })
    script.run({ executes: [{ label: "train/a", parameters: { lr: 3 } }] })
    const row = script.database.get<ExecutionRow>(`SELECT ${executionColumns} FROM execution WHERE id = 1`)!
    assert.deepStrictEqual(explainExecution(script.database, row).reason, { _tag: "first" })
    assert.deepStrictEqual(explain(script, "train/b").reason, { _tag: "first" })
    const components = componentsFor({ label: "train/a", parameters: { lr: 9 } })
    assert.strictEqual(nearest(script.database, "train/a", components)!.run, 3)
    assert.isUndefined(nearest(script.database, "train/z", components))
  })

  it("a key written in another form is recognised: no part differs, but the key does", () => {
    const script = new LedgerScript()
    script.run({ executes: [work(1, 1)] })
    const old = sha256("a key of an older program")
    script.database.run("UPDATE action SET key = ?", Buffer.from(old, "hex"))
    script.run({ executes: [work(1, 1)] })
    const { reason } = explain(script, "train")
    assert.strictEqual(reason._tag, "changed")
    if (reason._tag !== "changed") return
    assert.deepStrictEqual(reason.explanation.differences, [])
    assert.match(reason.explanation.summary, /another form/)
  })
})

describe("why explains what no change explains", () => {
  const work: Work = { label: "train", parameters: { lr: 1 } }

  const ask = (script: LedgerScript) =>
    reasonFor(script.database, {
      label: "train",
      key: actionKey(componentsFor(work)),
      components: componentsFor(work),
      codeDetail: detailOf(work)
    })

  it("the first time", () => {
    const script = new LedgerScript()
    assert.deepStrictEqual(ask(script), { _tag: "first" })
    script.run({ executes: [work] })
    assert.deepStrictEqual(explain(script, "train").reason, { _tag: "first" })
  })

  it.each(["collected", "lost"] as const)("bytes that were %s", state => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [work] })
    markArtifacts(script.database, [done[0]!.outputs["out"]!], state)
    const asked = ask(script)
    assert.deepInclude(asked, { _tag: "again", because: `the bytes of its output out are ${state}` })
    const { run } = script.run({ status: "running" })
    script.execute(run, work, `its bytes are ${state}`)
    const { reason } = explain(script, "train")
    assert.deepInclude(reason, { _tag: "again", because: `its bytes are ${state}` })
    assert.strictEqual(reason._tag === "again" && reason.since.run, 1)
  })

  it("an attempt that failed in an earlier run", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ ...work, fails: "out of memory" }], status: "failed" })
    script.run({ executes: [work] })
    assert.deepInclude(explain(script, "train").reason, {
      _tag: "again",
      because: "the attempt before failed: out of memory"
    })
  })

  it("further attempts in one run have the reason of the first", () => {
    const script = new LedgerScript()
    const { run } = script.run({ executes: [{ ...work, fails: "crashed" }], status: "running" })
    script.execute(run, work)
    const explained = explain(script, "train")
    assert.deepStrictEqual(explained.reason, { _tag: "first" })
    assert.deepInclude(explained, { attempts: 2, status: "done" })
  })

  it("an attempt that was cut off", () => {
    const script = new LedgerScript()
    script.run({ executes: [work] })
    script.database.run("UPDATE execution SET status = 'interrupted'")
    assert.deepInclude(ask(script), { _tag: "again", because: "the attempt before was interrupted" })
    script.database.run("UPDATE execution SET status = 'lost'")
    assert.deepInclude(ask(script), { because: "the process of the attempt before vanished" })
  })
})

describe("differences of JSON values", () => {
  it("equal values have none; unequal kinds differ as a whole", () => {
    assert.deepStrictEqual(jsonDifferences({ a: [1, { b: null }] }, { a: [1, { b: null }] }, []), [])
    assert.deepStrictEqual(brief({ differences: jsonDifferences({ a: 1 }, { a: [1] }, []) }), ["parameters.a: 1 → [1]"])
    assert.deepStrictEqual(brief({ differences: jsonDifferences("x", "y", []) }), ['parameters: "x" → "y"'])
  })

  it("a key named like a property of every object is a key", () => {
    assert.deepStrictEqual(brief({ differences: jsonDifferences({}, JSON.parse('{"constructor":1}'), []) }), [
      "parameters.constructor: absent → 1"
    ])
  })

  it("smallestDifference of equal components finds nothing", () => {
    const script = new LedgerScript()
    const { done } = script.run({ executes: [{ label: "train" }] })
    const components = componentsFor({ label: "train" })
    const earlier = { action: done[0]!.action, key: done[0]!.key, run: 1, startedMs: 0, components, codeDetail: "{}" }
    assert.deepStrictEqual(smallestDifference(earlier, components, undefined).differences, [])
  })
})
