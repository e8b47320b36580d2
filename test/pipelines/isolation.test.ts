/**
 * Methods are isolated in the shipped grid: in copies of the sources each method's code, words and settings are edited, a chart's colour, a library's version, a text of
 * the command line; and exactly the actions that depend on it get other keys.
 */
import { execFileSync } from "node:child_process"
import { cpSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { parseSync } from "rolldown/utils"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { rows } from "../../pipelines/rows.ts"
import { compute, type Fingerprint, Session } from "../../src/runner/Fingerprint.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import type { Probed } from "../support/planProbe.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folders = ["src", "stages", "pipelines", "configs"]

let directory: ReturnType<typeof temporaryDirectory>
let actions: ReadonlyArray<Probed>
/** What it has parsed, all others share. */
const first = new Session()
/** The fingerprint of each different code, by its target. */
const codes = new Map<string, Fingerprint>()

const tree = () => join(directory.path, "tree")
const idOf = ({ target }: Probed): string => JSON.stringify(target)
const bytesOf = (file: string): string => readFileSync(join(tree(), file), "utf8")

/** A copy of the sources, with links to the packages. */
const copySources = (to: string): void => {
  for (const folder of folders) cpSync(join(root, folder), join(to, folder), { recursive: true })
  cpSync(join(root, "package.json"), join(to, "package.json"))
  symlinkSync(join(root, "node_modules"), join(to, "node_modules"))
}

/** A copy in which chart library is a copy, too, as far as it is looked at. */
const copyTo = (to: string): void => {
  copySources(to)
  rmSync(join(to, "node_modules"))
  mkdirSync(join(to, "node_modules"))
  for (const name of readdirSync(join(root, "node_modules")))
    if (name !== charts) symlinkSync(join(root, "node_modules", name), join(to, "node_modules", name))
  const library = join("node_modules", charts)
  for (const name of readdirSync(join(root, library)))
    if (/^(?:lib|node_modules|\w+\.js|package\.json)$/.test(name))
      cpSync(join(root, library, name), join(to, library, name), { recursive: true })
}
const charts = "echarts"

const probe = (...trees: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<Probed>> =>
  JSON.parse(
    execFileSync(process.execPath, [join(root, "test", "support", "planProbe.ts"), ...trees], {
      encoding: "utf8",
      maxBuffer: 2 ** 26
    })
  ) as ReadonlyArray<ReadonlyArray<Probed>>

const fingerprint = (id: string, session: Session) =>
  Effect.runPromise(compute(JSON.parse(id) as Probed["target"], session))

beforeAll(async () => {
  directory = temporaryDirectory()
  copyTo(tree())
  ;[actions = []] = probe(tree())
  for (const id of new Set(actions.map(idOf))) codes.set(id, await fingerprint(id, first))
})
afterAll(() => directory.remove())

/** What an edit of some files changes: labels of actions, and of each such action the files whose code is another one. */
const changedBy = async (
  edits: { readonly [file: string]: (text: string) => string },
  within: (action: Probed) => boolean = () => true
): Promise<{ readonly [label: string]: ReadonlyArray<string> }> => {
  const before = Object.keys(edits).map(file => [file, bytesOf(file)] as const)
  for (const [file, text] of before) {
    const edited = edits[file]!(text)
    assert.notStrictEqual(edited, text, file)
    writeFileSync(join(tree(), file), edited)
  }
  try {
    const paths = new Set(Object.keys(edits).map(file => join(tree(), file)))
    const session = first.again()
    const changed = new Map<string, ReadonlyArray<string>>()
    for (const id of new Set(actions.filter(within).map(idOf))) {
      const { digest, modules, seen } = codes.get(id)!
      // What does not look at a file cannot change with it.
      if (!seen.some(([path]) => paths.has(path))) continue
      const after = await fingerprint(id, session)
      if (after.digest === digest) continue
      changed.set(
        id,
        Object.keys(edits).filter(file => after.modules[file] !== modules[file])
      )
    }
    return Object.fromEntries(
      actions.flatMap(action => {
        const files = changed.get(idOf(action))
        return files === undefined ? [] : [[action.label, files] as const]
      })
    )
  } finally {
    for (const [file, text] of before) writeFileSync(join(tree(), file), text)
  }
}

/** Every value that a module exports passes through a function: the same value by other code. */
const otherCode = (text: string): string => {
  const { program } = parseSync("module.ts", text)
  const values = program.body.flatMap(statement =>
    statement.type === "ExportNamedDeclaration" && statement.declaration?.type === "VariableDeclaration"
      ? statement.declaration.declarations.flatMap(({ init }) => init ?? [])
      : []
  )
  return values.reduceRight(
    (edited, { end, start }) =>
      `${edited.slice(0, start)}((edited) => edited)(${edited.slice(start, end)})${edited.slice(end)}`,
    text
  )
}

const maskedRows = ["no_align", "with_align", "with_align_all_layers", "with_trajectory", "own_trajectories"]
const tasks = ["evaluate-sort", "evaluate-order", "evaluate-sudoku"]
const evaluations = ["evaluate-likelihood", "evaluate-texts", ...tasks]
const measured = [...evaluations, "benchmark"]
const all = ["train", ...measured]

/** Files, with the stages that reach them: what an edit of all of them at once must change in these rows, and nothing in others. */
type Reached = ReadonlyArray<readonly [file: string, stages: ReadonlyArray<string>]>
const changesOf = (files: Reached, names: ReadonlyArray<string>) =>
  Object.fromEntries(
    all.flatMap(stage => {
      const own = files.filter(([, stages]) => stages.includes(stage)).map(([file]) => file)
      const trained = names.flatMap(name =>
        stage === "train" && name === "own_trajectories" ? [`${name}-teacher`, name] : [name]
      )
      return own.length === 0 ? [] : trained.map(name => [`${stage}/${name}`, own] as const)
    })
  )
const edited = (files: Reached) => Object.fromEntries(files.map(([file]) => [file, otherCode] as const))

/** The modules of a method's room, and the stages that reach them: what is neither of its training nor of its decoding is of both. */
const modulesOf = (method: string): Reached =>
  globSync(`src/methods/${method}/*.ts`, { cwd: root })
    .sort()
    .map(file => {
      if (/\/(method|decode|drawing)\.ts$/.test(file)) return [file, measured] as const
      const trains = /\/(train|settings|objective|data|rows|adaptiveTimes|warmUp|latentNoising)\.ts$/.test(file)
      return [file, trains ? ["train"] : all] as const
    })

describe("the code of a method", () => {
  it.each(["ldlm", "vfm", "cola"])("%s, any module of it, changes this row alone", async method => {
    const modules = modulesOf(method)
    for (const module of ["decode", "method", "networks", "objective", "settings", "train"])
      assert.include(
        modules.map(([file]) => file),
        `src/methods/${method}/${module}.ts`
      )
    assert.deepStrictEqual(await changedBy(edited(modules)), changesOf(modules, [method]))
  })

  it("of masked diffusion changes the rows that are trained by masks", async () => {
    const shared: Reached = [
      ["src/methods/shared/maskedTraining.ts", ["train"]],
      ["src/methods/masked/settings.ts", ["train"]],
      ["src/methods/shared/masks/objective.ts", ["train"]],
      ["src/methods/shared/alignment/aligning.ts", ["train"]],
      ["src/methods/shared/panels.ts", ["train"]],
      ["src/methods/masked/method.ts", measured]
    ]
    const own: Reached = [["src/methods/masked/train.ts", ["train"]]]
    assert.deepStrictEqual(await changedBy(edited([...own, ...shared])), {
      ...changesOf([...own, ...shared], maskedRows),
      ...changesOf(shared, ["cola"])
    })
    assert.deepStrictEqual(await changedBy(edited(own)), changesOf(own, maskedRows))
  })

  it("that another method takes over changes that one, too: Cola's bound is that of masked diffusion", async () => {
    const file = "src/methods/masked/method.ts"
    const unshifted = (text: string) =>
      text.replace("({ tokenShift }) => ({ tokenShift })", "() => ({ tokenShift: false })")
    const changed = await changedBy({ [file]: unshifted }, ({ label }) => label.startsWith("evaluate-likelihood/"))
    assert.deepStrictEqual(changed, changesOf([[file, ["evaluate-likelihood"]]], [...maskedRows, "cola"]))
  })

  it("that methods share which decode by masks changes their measurements, and none of LDLM", async () => {
    const asked: Reached = [["stages/decoding/byMasks.ts", measured]]
    assert.deepStrictEqual(await changedBy(edited(asked)), changesOf(asked, [...maskedRows, "vfm", "cola"]))
  })

  it("of all methods changes all rows, and nothing that stands before a training", async () => {
    const loop: Reached = [["src/training/loop.ts", ["train"]]]
    assert.deepStrictEqual(
      await changedBy(edited(loop)),
      changesOf(
        loop,
        rows.map(({ name }) => name)
      )
    )
  })
})

describe("the code of a measurement", () => {
  const everyRow = rows.map(({ name }) => name)
  it.each([
    ["evaluate-likelihood", ["stages/evaluate-likelihood.ts", "src/evaluation/bytes.ts"]],
    ["evaluate-texts", ["stages/evaluate-texts.ts", "src/evaluation/ngram.ts", "src/evaluation/diversity.ts"]],
    ["evaluate-sudoku", ["src/evaluation/tasks/sudoku.ts"]]
  ] as const)("%s changes it alone, in all rows: a bound, a judge, a task", async (stage, files) => {
    const reached: Reached = files.map(file => [file, [stage]])
    // What the rows are read beside is measured once, by the same: bytes, an n-gram model, a task.
    const beside = {
      "evaluate-references": /\/(bytes|ngram)\.ts$/,
      "reference-texts": /\/(ngram|diversity)\.ts$/,
      // One stage asks the teacher all tasks, token by token and with drafts.
      ...Object.fromEntries(
        tasks.flatMap(stage => {
          const name = stage.replace("evaluate-", "examine/teacher-")
          return [name, `${name}-drafted`].map(each => [each, /\/tasks\//] as const)
        })
      )
    }
    const shared = Object.entries(beside).flatMap(([label, measures]) => {
      const own = files.filter(file => measures.test(file))
      return own.length === 0 ? [] : [[label, own] as const]
    })
    assert.deepStrictEqual(await changedBy(edited(reached)), {
      ...changesOf(reached, everyRow),
      ...Object.fromEntries(shared)
    })
  })

  it("of one more task changes nothing: neither what was measured, nor how other tasks went", async () => {
    const other = join(directory.path, "task")
    copyTo(other)
    const task = readFileSync(join(root, "test", "support", "sumsTask.ts"), "utf8")
    writeFileSync(
      join(other, "stages", "evaluate-sums.ts"),
      task.replaceAll(/"..\/..\/(?:stages\/)?/g, in_ => (in_.endsWith("stages/") ? '"./' : '"../'))
    )
    const edit = (file: string, found: string, by: string) => {
      const text = bytesOf(file)
      assert.include(text, found)
      writeFileSync(join(other, file), text.replace(found, by))
    }
    const table = join("pipelines", "tasks.ts")
    edit(table, "sort: evaluateSort", "sort: evaluateSort, sums: evaluateSums")
    writeFileSync(
      join(other, table),
      `import { evaluateSums } from "../stages/evaluate-sums.ts"\n${readFileSync(join(other, table), "utf8")}`
    )
    edit("configs/embedded.yaml", "  tasks:\n", "  tasks:\n    sums: { source: embedded:reason500 }\n")
    const [after = []] = probe(other)
    const known = new Map(actions.map(action => [action.label, action]))
    const added = after.filter(({ label }) => !known.has(label)).map(({ label }) => label)
    assert.sameMembers(added, ["download-documents/sums", ...everyRow.map(name => `evaluate-sums/${name}`)])
    assert.strictEqual(after.length - added.length, actions.length)
    const session = first.again()
    for (const action of after) {
      const before = known.get(action.label)
      if (before === undefined) continue
      const stage = action.label.split("/")[0]!
      assert.strictEqual(action.parameters, before.parameters, action.label)
      if (evaluations.includes(stage))
        assert.strictEqual((await fingerprint(idOf(action), session)).digest, codes.get(idOf(before))!.digest, stage)
    }
  })
})

describe("what determines no result", () => {
  it("changes nothing: any comment anywhere, what fields mean among them", async () => {
    const files = globSync("{src,stages,pipelines}/**/*.ts", { cwd: root }).filter(file =>
      bytesOf(file).includes("/**")
    )
    const reworded = (text: string) => text.replaceAll(/\/\*\*(?=[^/])/g, "/** In other words:")
    assert.isAbove(files.length, 300)
    assert.deepStrictEqual(await changedBy(Object.fromEntries(files.map(file => [file, reworded]))), {})
  })

  it("is not looked at: reasons of refusals, the command line, the runner, the ledger, pages, other methods' settings", () => {
    const below = (folder: string) =>
      [...codes].filter(([, { seen }]) => seen.some(([path]) => path.startsWith(folder)))
    for (const folder of ["src/cli/", "src/runner/", "src/ledger/", "src/methods/unsupported.ts", "pipelines/"])
      assert.isEmpty(below(join(tree(), folder)), folder)
    const drawing = below(join(tree(), "src/report/")).map(([id]) => id)
    assert.deepStrictEqual(drawing, [...new Set(actions.filter(({ label }) => label === "report-grid").map(idOf))])
  })

  it.each(["src/report/panels.ts", "src/report/html.ts"])("a colour of %s changes the report alone", async file => {
    const otherColour = (text: string) => text.replace(/#[0-9a-f]{6}/, "#123456")
    assert.deepStrictEqual(await changedBy({ [file]: otherColour }), { "report-grid": [file] })
  })

  it("another version of the chart library changes the report alone", async () => {
    const drawing = actions.filter(action => charts in codes.get(idOf(action))!.packages)
    assert.deepStrictEqual(
      drawing.map(({ label }) => label),
      ["report-grid"]
    )
    const [report] = drawing.map(idOf)
    const manifest = join(tree(), "node_modules", charts, "package.json")
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace(/"version": "[^"]*"/, '"version": "99.0.0"'))
    const { digest } = await fingerprint(report!, first.again())
    assert.notStrictEqual(digest, codes.get(report!)!.digest)
  })
})

describe("the settings of a method", () => {
  /** A field more, and another default. */
  const edits = [
    ["shared", "const commonFields = {", "seedOffset: setting(Count, 0)", "seedOffset: setting(Count, 1)"],
    ["masked", "export const maskedFields = {", "PositiveInt), [16, 24, 32])", "PositiveInt), [8, 24, 32])"],
    ["ldlm", "...LdlmArchitecture.fields,", "promptDropout: setting(Share, 0.1)", "promptDropout: setting(Share, 0.2)"],
    ["vfm", "...VfmArchitecture.fields,", "adapterDropout: setting(Share, 0.1)", "adapterDropout: setting(Share, 0.2)"],
    [
      "cola",
      "...ColaArchitecture.fields,",
      "colaConditionDropout: setting(Share, 0.1)",
      "colaConditionDropout: setting(Share, 0.2)"
    ]
  ] as const
  const common = ["shared", "seed_offset"]
  const masked = [...common, "masked", "trajectory_progressive_block_sizes.0"]
  const fields: { readonly [row: string]: ReadonlyArray<string> } = {
    ...Object.fromEntries([...maskedRows, "own_trajectories-teacher"].map(row => [row, masked])),
    // Its file says what the blocks are.
    with_trajectory: [...common, "masked"],
    cola: [...masked, "cola", "cola_condition_dropout"],
    ldlm: [...common, "ldlm.ldlm", "ldlm.prompt_dropout"],
    vfm: [...common, "vfm.vfm", "vfm.adapter_dropout"]
  }

  /** Names of what is other in one record than in another, groups by their fields. */
  const differing = (one: object, other: object): ReadonlyArray<string> =>
    Object.entries(other).flatMap(([name, value]: readonly [string, unknown]) => {
      const before = (one as { readonly [name: string]: unknown })[name]
      if (JSON.stringify(before) === JSON.stringify(value)) return []
      const isGroup = (group: unknown): group is object => typeof group === "object" && group !== null
      return isGroup(before) && isGroup(value) ? differing(before, value).map(below => `${name}.${below}`) : [name]
    })

  it("enter the keys of its rows alone: another default, a field more", () => {
    const other = join(directory.path, "settings")
    copySources(other)
    for (const [method, begin, found, by] of edits) {
      const file = join("src", "methods", method, "settings.ts")
      const text = bytesOf(file)
      for (const part of [begin, found]) assert.include(text, part)
      const added = `${begin}\n  ${method}: setting(Schema.Literal("added"), "added"),`
      writeFileSync(join(other, file), text.replace(found, by).replace(begin, added))
    }
    const decoding = join("src", "decoding", "diffusion.ts")
    const revealed = 'alg: setting(Schema.Literals(algorithms), "entropy")'
    assert.include(bytesOf(decoding), revealed)
    writeFileSync(join(other, decoding), bytesOf(decoding).replace(revealed, revealed.replace("entropy", "p2")))
    const [after = []] = probe(other)
    for (const [n, { label, parameters }] of after.entries()) {
      const before = actions[n]!
      assert.strictEqual(label, before.label)
      const [stage, row] = label.split("/") as [string, string | undefined]
      const reveals =
        measured.includes(stage) && stage !== "evaluate-likelihood" && !tasks.includes(stage) && row !== "ldlm"
      assert.sameMembers(
        [...differing(JSON.parse(before.parameters) as object, JSON.parse(parameters) as object)],
        stage === "train" ? [...fields[row!]!] : reveals ? ["decoding.alg"] : [],
        label
      )
    }
  })
})
