/** Benchmarks of code: prompts, what of a response counts, and the programs that judge it, as upstream's tools and the seed have them. */
import * as fc from "fast-check"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { assert, beforeAll, describe, it } from "vitest"
import { type HumanEvalRow, suites as humanevalSuites } from "../../../src/evaluation/tasks/humaneval.ts"
import { multiLine, singleLine, suites as infillSuites } from "../../../src/evaluation/tasks/infill.ts"
import { type MbppRow, suites as mbppSuites } from "../../../src/evaluation/tasks/mbpp.ts"
import { cleanedProgram, pythonString, untilFence, withoutFence } from "../../../src/evaluation/tasks/python.ts"
import { suites as santaSuites } from "../../../src/evaluation/tasks/santaFim.ts"
import { loadSuite, suiteModules, suiteNames } from "../../../src/evaluation/tasks/suites.ts"
import { cutAtStops } from "../../../src/evaluation/tasks/Task.ts"
import type { Sandbox } from "../../../src/sandbox/Sandbox.ts"
import { missing, sandboxFor } from "../../support/sandboxed.ts"

const example = (name: string) => fileURLToPath(new URL(`../../../docs/examples/evaluate/${name}`, import.meta.url))
const functions = readFileSync(example("functions.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map(line => JSON.parse(line) as HumanEvalRow)

describe("suites", () => {
  it.each(suiteNames)("%s is found by its name, and has a protocol", async name => {
    const suite = await loadSuite(name)
    assert.strictEqual(suite.name, name)
    assert.isAbove(Object.keys(suite.protocols).length, 0)
    for (const { settings } of Object.values(suite.protocols)) {
      assert.isTrue(settings.ks.every(k => k <= settings.samples))
      assert.isAbove(settings.samples > 1 ? settings.decoding.temperature : 1, 0)
    }
  })

  it("have modules of their own, so that an edit of one is none of another", () => {
    assert.deepStrictEqual(new Set(Object.values(suiteModules)).size, 7)
  })
})

describe("stops and fences", () => {
  it("cut at the earliest stop, whichever it is", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("a", "b", "\n") }),
        fc.array(fc.constantFrom("a", "b\n", "\n\n", "ba")),
        (text, stops) => {
          const cut = cutAtStops(text, stops)
          assert.isTrue(text.startsWith(cut))
          for (const stop of stops) assert.isFalse(cut.includes(stop))
          if (cut !== text) assert.isTrue(stops.some(stop => text.startsWith(stop, cut.length)))
        }
      )
    )
  })

  it("take the inside of the first fence, closed or not, and leave a text without one alone", () => {
    assert.strictEqual(withoutFence("Here:\n```python\nx = 1\n```\nDone"), "x = 1\n")
    assert.strictEqual(withoutFence("```\nx = 1"), "x = 1")
    assert.strictEqual(withoutFence("    return 1\n"), "    return 1\n")
    assert.strictEqual(untilFence("x = 1\n```\nmore"), "x = 1\n")
  })

  it("write any text as a literal of Python that is that text", async () => {
    if (missing !== undefined) return
    const sandbox = await sandboxFor()
    const texts = ["", "'\"\\\n\t\r", "é€😀", "\u0000\u2028", "\\N{DASH} {x} %s"]
    for (const text of texts) {
      const bytes = [...Buffer.from(text, "utf8")]
      assert.strictEqual(
        await Effect.runPromise(sandbox.run(`assert list(${pythonString(text)}.encode()) == ${JSON.stringify(bytes)}`)),
        "passed"
      )
    }
    assert.strictEqual(pythonString("\ud800"), '"\ufffd"')
  })
})

describe("HumanEval", () => {
  const [row] = functions
  const items = (protocol: string) => humanevalSuites.humaneval.protocols[protocol]!.items([row!])[0]!

  it("is tested by lm-eval's and OpenAI's program: prompt, completion, tests, check", () => {
    const item = items("lm-eval")
    assert.strictEqual(item.prompt, row!.prompt)
    assert.strictEqual(item.completion("    return a + b\n\ndef more():\n    pass"), "    return a + b\n")
    assert.deepStrictEqual(item.judge("    return a + b\n"), {
      program: `${row!.prompt}    return a + b\n\n${row!.test}\ncheck(add)`
    })
  })

  it("has evalplus' tests under the same prompts, so that samples are shared", () => {
    assert.deepStrictEqual(humanevalSuites["humaneval-plus"].protocols, humanevalSuites.humaneval.protocols)
    assert.deepStrictEqual(humanevalSuites["humaneval-plus"].modules, ["numpy"])
  })
})

describe.skipIf(missing !== undefined)("programs of code, run", () => {
  let sandbox: Sandbox
  beforeAll(async () => void (sandbox = await sandboxFor()))
  const run = (judged: object) => Effect.runPromise(sandbox.run((judged as { readonly program: string }).program))

  it.each(["lm-eval", "open-dllm"])("right solutions pass, wrong ones fail: %s", async protocol => {
    for (const item of humanevalSuites.humaneval.protocols[protocol]!.items(functions)) {
      assert.strictEqual(await run(item.judge(item.completion(item.answer))), "passed", item.id)
      assert.match(await run(item.judge(item.completion("    return None\n"))), /^failed: AssertionError/)
    }
  })

  it.each(["infill single", "infill multi"])("right fillings pass: %s", async kind => {
    const suite =
      infillSuites[kind === "infill single" ? "humaneval-infill-single-line" : "humaneval-infill-multi-line"]
    const items = suite.protocols["oracle"]!.items(functions.slice(0, 2))
    for (const item of items) {
      assert.strictEqual(await run(item.judge(item.completion(item.answer))), "passed", item.id)
      assert.match(await run(item.judge("    raise KeyError(1)\n")), /^failed: (KeyError|IndentationError|SyntaxError)/)
    }
  })

  describe("the clean-up of what a model wrote", () => {
    const verdict = (text: string, test: string, entry = "f") =>
      Effect.runPromise(sandbox.run(`${cleanedProgram(text, entry, test)}\n${test}`))

    it("keeps imports and what the entry point reaches, and drops the rest", async () => {
      const text =
        "Sure:\nimport math\ndef helper(x):\n\treturn math.floor(x)\nK = 2\ndef f(x):\n    return helper(x) + K\nraise SystemError('never run')\nand some words"
      assert.strictEqual(await verdict(text, "assert f(1.5) == 3"), "passed")
      assert.match(await verdict(text, "g()"), /^failed: NameError/)
      const three = "def g():\n    return 7\ndef h():\n    return 8\ndef f(x):\n    return x"
      assert.strictEqual(await verdict(three, "assert f(1) == 1 and g() == 7 and 'h' not in globals()"), "passed")
    })

    it("drops functions that return nothing, and says so by the name that is missing", async () => {
      assert.match(await verdict("def f(x):\n    print(x)\n", "f(1)"), /^failed: NameError: name 'f'/)
    })

    it("takes the longest run of lines that is Python", async () => {
      assert.strictEqual(
        await verdict("x = = 1\ndef f():\n    return 5\ny = 2\nthis is no Python", "assert f() == 5"),
        "passed"
      )
      assert.match(await verdict("no Python at all", "f()"), /^failed: NameError/)
      assert.match(await verdict("", "f()"), /^failed: NameError/)
    })

    it("looks at a hundred lines and is done in time", async () => {
      const long = `${"@@@\n".repeat(150)}def f():\n    return 1\n`
      assert.match(await verdict(long, "f()"), /^failed: NameError/)
    })
  })

  it("MBPP's assertions run behind the completion, with its set-up", async () => {
    const row: MbppRow = {
      task_id: 11,
      text: "Write a function that doubles.",
      code: "def double(x):\n    return 2 * x",
      test_list: ["assert double(2) == FOUR", "assert double(0) == 0", "assert double(-1) == -2"],
      test_setup_code: "FOUR = 4"
    }
    const [item] = mbppSuites.mbpp.protocols["open-dllm"]!.items([row])
    assert.strictEqual(await run(item!.judge(item!.completion(`${row.code}\n\`\`\`\nDone`))), "passed")
    assert.match(await run(item!.judge("def double(x):\n    return x")), /^failed: AssertionError/)
  })
})

describe("MBPP", () => {
  const row = (task_id: number): MbppRow => ({
    task_id,
    text: `Problem ${task_id}.`,
    code: `code_${task_id}`,
    test_list: ["assert a", "assert b", "assert c", "assert d"]
  })

  it("asks the test part, ids 11 to 510, and shows three of the assertions", () => {
    const items = mbppSuites.mbpp.protocols["open-dllm"]!.items([10, 11, 510, 511].map(row))
    assert.deepStrictEqual(
      items.map(({ id }) => id),
      ["MBPP/11", "MBPP/510"]
    )
    assert.strictEqual(
      items[0]!.prompt,
      "Problem 11. Your code should pass these tests:\n\nassert a\nassert b\nassert c\n```python\n"
    )
    assert.deepStrictEqual(items[0]!.judge("x"), { program: "x\nassert a\nassert b\nassert c\nassert d" })
  })

  it("shows lm-eval's three worked examples, from the data", () => {
    const [item] = mbppSuites.mbpp.protocols["lm-eval"]!.items([2, 3, 4, 11].map(row))
    const one = (id: number) =>
      `You are an expert Python programmer, and here is your task: Problem ${id}. Your code should pass these tests:\n\nassert a\nassert b\nassert c\n[BEGIN]\n`
    assert.strictEqual(item!.prompt, `${[2, 3, 4].map(id => `${one(id)}code_${id}\n[DONE]\n\n`).join("")}${one(11)}`)
    assert.strictEqual(item!.completion("x = 1\n[DONE]\nmore"), "x = 1\n")
    assert.throws(() => mbppSuites.mbpp.protocols["lm-eval"]!.items([row(3), row(11)]), /task_id 2, 4/)
  })
})

describe("HumanEval-Infill", () => {
  const solution = (body: string): HumanEvalRow => ({
    ...functions[0]!,
    task_id: "HumanEval/0",
    prompt: "def add(a, b):\n",
    canonical_solution: body
  })

  it("is made of runs of lines between lines that are not blank; names count blank lines, too", () => {
    const row = solution("    x = a\n\n    return x + b\n")
    assert.deepStrictEqual(
      multiLine([row]).map(({ canonical_solution, prompt, suffix, task_id }) => [
        task_id,
        prompt,
        canonical_solution,
        suffix
      ]),
      [
        ["MultiLineInfilling/HumanEval/0/L0_L0", "def add(a, b):\n\n", "    x = a\n", "\n    return x + b\n"],
        ["MultiLineInfilling/HumanEval/0/L0_L2", "def add(a, b):\n\n", "    x = a\n\n    return x + b\n", ""],
        ["MultiLineInfilling/HumanEval/0/L2_L2", "def add(a, b):\n    x = a\n\n", "    return x + b\n", ""]
      ]
    )
    assert.deepStrictEqual(
      singleLine([row]).map(({ task_id }) => task_id),
      ["SingleLineInfilling/HumanEval/0/L0", "SingleLineInfilling/HumanEval/0/L2"]
    )
  })

  it("puts the solution together again, but for a line break in front of its first line", () => {
    const line = fc.string({ unit: fc.constantFrom(" ", "x", "="), maxLength: 4 })
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 6 }), lines => {
        const row = solution(`${lines.join("\n")}\n`)
        const written = lines.filter(each => each.trim() !== "").length
        assert.strictEqual(singleLine([row]).length, written)
        assert.strictEqual(multiLine([row]).length, (written * (written + 1)) / 2)
        for (const { canonical_solution, prompt, suffix, task_id: id } of multiLine([row]))
          assert.strictEqual(
            prompt + canonical_solution + suffix,
            `${row.prompt}${id.includes("/L0_") ? "\n" : ""}${row.canonical_solution}`
          )
      })
    )
  })

  it("takes the first line of a response to one line, and all of a response to several", () => {
    const items = (name: keyof typeof infillSuites) =>
      (
        infillSuites[name] as {
          protocols: {
            [name: string]: {
              items: (
                rows: ReadonlyArray<HumanEvalRow>
              ) => ReadonlyArray<{ completion: (text: string) => string; gap?: object }>
            }
          }
        }
      ).protocols
    const [single] = items("humaneval-infill-single-line")["oracle"]!.items([functions[0]!])
    assert.strictEqual(single!.completion("    return 1\n    more\n"), "    return 1\n")
    assert.deepStrictEqual(single!.gap, { suffix: "", lengthOf: "    return a + b\n" })
    const [multi] = items("humaneval-infill-multi-line")["fixed"]!.items([functions[0]!])
    assert.strictEqual(multi!.completion("a\nb\n"), "a\nb\n")
    assert.deepStrictEqual(multi!.gap, { suffix: "" })
  })
})

describe("SantaCoder's task", () => {
  const [item] = santaSuites["santa-fim"].protocols["fixed"]!.items([
    { prompt: "x", suffix: "y", canonical_solution: "  return 1 ", language: "py", name: "HumanEval_0" }
  ])

  it.each([
    ["  return 1\nmore", "right"],
    ["\nreturn 1\n", "right"],
    [" \n  return 1  ", "right"],
    ["return 2", "wrong"],
    ["\n\nreturn 1", "missing"],
    ["", "missing"]
  ] as const)("reads the first line, or the second where the first is empty: %j is %s", (response, outcome) => {
    assert.deepStrictEqual(item!.judge(item!.completion(response)), { outcome })
  })

  it("ends what stands before the gap with a line break", () => {
    assert.strictEqual(item!.prompt, "x\n")
    assert.strictEqual(item!.id, "py/HumanEval_0/0")
  })
})
