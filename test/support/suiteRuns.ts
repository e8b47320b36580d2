/** Runs the stages of the pipeline `evaluate` on a tiny model, in folders of the test's own. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { afterAll, afterEach, assert, beforeAll, beforeEach } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { SuiteResult } from "../../src/evaluation/suiteFiles.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { setPermission } from "../../src/sandbox/permission.ts"
import { downloadDocuments, downloadModel } from "../../stages/download.ts"
import { judge } from "../../stages/judge.ts"
import { questions } from "../../stages/questions.ts"
import { runPrograms } from "../../stages/run-programs.ts"
import { sample } from "../../stages/sample.ts"
import { score } from "../../stages/score.ts"
import { type Ran, runPipeline, temporaryDirectory } from "./inProcess.ts"
import { modelConfig, tinyLatent, writeTinyModel } from "./tinyModel.ts"

export const example = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../docs/examples/evaluate/${name}`, import.meta.url)), "utf8")
export const functions = example("functions.jsonl").trim().split("\n")

let shared: ReturnType<typeof temporaryDirectory>
let directory: ReturnType<typeof temporaryDirectory>
/** Forgets all that was computed. */
export const forget = (): void => directory.remove()

/** To be called once by a test file: a model for all of it, and a cache for each of its tests. */
export const prepare = (): void => {
  beforeAll(async () => {
    shared = temporaryDirectory()
    const config = modelConfig({ vocabSize: 2048, ropeTheta: 10_000 })
    for (const [name, latent] of [
      ["tiny"],
      ["vfm", { ...tinyLatent, architecture: { ...tinyLatent.architecture, maxSeqLen: 256 } }]
    ] as const) {
      const folder = join(shared.path, name)
      await writeTinyModel(folder, config, latent)
      // Prompts of these problems are longer than the tiny model's usual 64 tokens.
      const fields = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object
      writeFileSync(join(folder, "config.json"), JSON.stringify({ ...fields, max_position_embeddings: 256 }))
    }
  })
  afterAll(() => shared.remove())
  beforeEach(() => {
    directory = temporaryDirectory()
    setPermission(true)
  })
  afterEach(() => {
    setPermission(false)
    directory.remove()
  })
}

const file = (name: string, lines: ReadonlyArray<string>): string => {
  mkdirSync(directory.path, { recursive: true })
  const path = join(directory.path, name)
  writeFileSync(path, lines.map(line => `${line}\n`).join(""))
  return `file:${path}`
}

interface Options {
  readonly task?: Parameters<typeof questions>[0]["task"]
  readonly protocol?: string
  readonly judgedBy?: string
  readonly rows?: ReadonlyArray<string>
  readonly completions?: ReadonlyArray<string>
  readonly sample?: object
  readonly ks?: ReadonlyArray<number>
  /** Asks a model of the method VFM. */
  readonly vfm?: boolean
  /** Whether programs are run; `unrun`: scored without. */
  readonly runs?: boolean | "unrun"
}

export const run = ({
  completions,
  judgedBy,
  ks = [1],
  protocol,
  rows = functions.slice(0, 2),
  runs = false,
  sample: drawing = {},
  task = "humaneval",
  vfm = false
}: Options) => {
  const source = file("rows.jsonl", rows)
  const written = completions === undefined ? undefined : file("completions.jsonl", completions)
  const asked = { task, ...(protocol === undefined ? {} : { protocol }) }
  const pipeline = Pipeline.make(
    "suites-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const dataset = downloadDocuments({ source, dataType: "fields" })
      const judging = { task, dataset, ...(judgedBy === undefined ? asked : { protocol: judgedBy }) }
      const made = () =>
        sample({
          model: downloadModel({ source: `file:${join(shared.path, vfm ? "vfm" : "tiny")}` }),
          questions: questions({ ...asked, dataset }),
          newTokens: 6,
          steps: 3,
          ...(vfm ? { method: "vfm" } : {}),
          ...drawing
        } as Parameters<typeof sample>[0])
      const samples = written === undefined ? made() : undefined
      const attempts = judge(
        samples === undefined
          ? {
              ...judging,
              completions: downloadDocuments({ name: "completions", source: written!, dataType: "fields" })
            }
          : { ...judging, samples }
      )
      const verdicts = runs === true ? runPrograms({ attempts }) : undefined
      return runs !== false || !task.startsWith("humaneval")
        ? score({
            attempts,
            ks,
            ...(samples === undefined ? {} : { samples }),
            ...(verdicts === undefined ? {} : { verdicts })
          })
        : attempts
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, "cache"), engine: numericClass("ort") })
}

export const resultOf = (ran: Ran) => Schema.decodeUnknownSync(SuiteResult)(JSON.parse(ran.text("score", "score.json")))
export const failureOf = (ran: Ran) => {
  assert.strictEqual(ran.status, "failed")
  const [{ advice, message }] = ran.failures as unknown as [{ readonly message: string; readonly advice?: string }]
  return `${message}\n${advice ?? ""}`
}
export const made = (ran: Ran) => [ran.metric("sample", "samples/new"), ran.metric("sample", "samples/reused")]
export const attemptsOf = (ran: Ran) =>
  ran
    .text("judge", "attempts.jsonl")
    .trim()
    .split("\n")
    .map(
      line => JSON.parse(line) as { readonly task_id: string; readonly completion: string; readonly program?: string }
    )
