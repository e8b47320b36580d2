/**
 * Diffusion decoding on processors with the teacher that ships with the program: 64 tokens behind a prompt, greedily and drawn at random, beside another checkout of this program (the commit before,
 * say), turn by turn in the same run.
 *
 *     node bench/decode.ts [--beside DIRECTORY] [--rounds N] [--threads N]
 *
 * Each checkout is a process of its own. Texts must be the same.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import type * as ort from "../src/engines/ort/ort.ts"
import type * as tensorFiles from "../src/formats/tensorFiles.ts"
import type * as modelConfig from "../src/models/config.ts"
import type * as families from "../src/models/families.ts"
import type * as parameters from "../src/models/parameters.ts"
import type * as weights from "../src/models/weights.ts"
import type * as generator from "../src/sessions/maskedGenerator.ts"
import { table } from "../src/cli/terminal/style.ts"
import { quantile } from "../src/evaluation/timing.ts"

const { values: flags } = parseArgs({
  options: {
    beside: { type: "string" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: "1" },
    serve: { type: "string" }
  }
})
const here = join(import.meta.dirname, "..")
const teacher = join(here, "assets/teacher")
const [mask, newTokens] = [2047, 64]
const prompts = Array.from({ length: 4 }, (_prompt, i) =>
  Int32Array.from({ length: 9 + (i % 4) }, (_, k) => 300 + 7 * i + 31 * k)
)
const greedy = { temperature: 0, alg: "entropy", algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const cases = [
  { name: "greedy, 1 text", decoding: greedy, texts: 1, steps: 8 },
  { name: "greedy, 1 text", decoding: greedy, texts: 1, steps: 32 },
  { name: "greedy, 4 texts", decoding: greedy, texts: 4, steps: 16 },
  { name: "greedy by p2, 4 texts", decoding: { ...greedy, alg: "p2" }, texts: 4, steps: 16 },
  { name: "drawn, 4 texts", decoding: { ...greedy, temperature: 0.7, topP: 0.95 }, texts: 4, steps: 8 }
] as const

interface Turn {
  readonly ms: number
  /** Time of processors. */
  readonly cpuMs: number
  readonly texts: string
}

/** One checkout: answers the number of a case with a turn of it. */
const serve = async (root: string) => {
  // The same modules of whichever checkout it is.
  const of = <Module>(file: string) => import(join(root, "src", file)) as Promise<Module>
  const { makeOrt } = await of<typeof ort>("engines/ort/ort.ts")
  const { parameterSpecs } = await of<typeof modelConfig>("models/config.ts")
  const { decodeModelConfig } = await of<typeof families>("models/families.ts")
  const { allocateParameters } = await of<typeof parameters>("models/parameters.ts")
  const { loadWeights } = await of<typeof weights>("models/weights.ts")
  const { openTensors } = await of<typeof tensorFiles>("formats/tensorFiles.ts")
  // Older checkouts have it beside what all generators are.
  const { maskedGenerator } = await of<typeof generator>("sessions/maskedGenerator.ts").catch(() =>
    of<typeof generator>("sessions/generator.ts")
  )
  const served = Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: Number(flags.threads) })
    const config = yield* decodeModelConfig(JSON.parse(readFileSync(join(teacher, "config.json"), "utf8")))
    const buffers = yield* allocateParameters(engine, parameterSpecs(config))
    const files = readdirSync(teacher).map(name => ({ name, path: join(teacher, name) }))
    yield* loadWeights(engine, buffers, yield* openTensors(files))
    const model = { config, parameters: buffers.views, tokenShift: true, tokenizer: { maskId: mask, padId: 0 } }
    const generators = yield* Effect.forEach(cases, ({ decoding, texts }) =>
      maskedGenerator(engine, model as never, { prompts: texts, promptTokens: 12, newTokens }, decoding)
    )
    process.send!("ready")
    for (;;) {
      const [number] = (yield* Effect.promise(() => once(process, "message"))) as [number]
      if (number < 0) return
      const { steps, texts } = cases[number]!
      const [begun, cpu] = [performance.now(), process.cpuUsage()]
      const made = yield* generators[number]!.generate({ prompts: prompts.slice(-texts), steps, seed: 1 })
      const ms = performance.now() - begun
      const { system, user } = process.cpuUsage(cpu)
      process.send!({
        ms,
        cpuMs: (system + user) / 1000,
        texts: made.sequences.map(text => text.join()).join(" ")
      } satisfies Turn)
    }
  })
  await Effect.runPromise(Effect.scoped(served))
  process.disconnect()
}

const compare = async (roots: ReadonlyArray<string>) => {
  const children = await Promise.all(
    roots.map(async root => {
      const child = fork(import.meta.filename, ["--serve", root, "--threads", flags.threads])
      await once(child, "message")
      return child
    })
  )
  const rows = []
  for (const [number, { name, steps }] of cases.entries()) {
    const turns = children.map((): Array<Turn> => [])
    // The first turn compiles, and does not count.
    for (let round = 0; round <= Number(flags.rounds); round++)
      for (const [i, child] of children.entries()) {
        child.send(number)
        const [turn] = (await once(child, "message")) as [Turn]
        if (round > 0) turns[i]!.push(turn)
      }
    const median = (own: ReadonlyArray<Turn>, what: "ms" | "cpuMs") =>
      quantile(
        own.map(turn => turn[what]).toSorted((a, b) => a - b),
        0.5
      )
    const [ours, other] = turns.map(own => [median(own, "ms"), median(own, "cpuMs")] as const)
    const shown = (of: readonly [number, number]) => of.map(ms => `${ms.toFixed(0)} ms`)
    const same = turns[0]![0]!.texts === turns.at(-1)![0]!.texts
    rows.push([
      name,
      String(steps),
      ...shown(ours!),
      ...(other === undefined
        ? []
        : [...shown(other), ...other.map((ms, i) => `${(ms / ours![i]!).toFixed(2)} x`), same ? "the same" : "OTHER"])
    ])
  }
  for (const child of children) child.send(-1)
  const beside = roots.length === 1 ? [] : ["beside", "processor", "beside / ours", "processor", "texts"]
  process.stdout.write(
    `${table([["decoding", "steps", "ours", "processor", ...beside], ...rows], new Set([1, 2, 3, 4, 5, 6, 7]))}\n`
  )
}

await (flags.serve === undefined
  ? compare([here, ...(flags.beside === undefined ? [] : [resolve(flags.beside)])])
  : serve(flags.serve))
