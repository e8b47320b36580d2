/**
 * A whole training step (forward, backward, clipping, AdamW) of 1,024 tokens beside PyTorch, turn by turn in the same run.
 *
 *     node bench/step.ts [--rounds N] [--models 3.6M,29M] [--threads 1,2] [--compiled] [--recompute]
 *
 * PyTorch is that of the environment that `npm run test:interop` makes; `INTEROP_PYTHON` names another. `--compiled` adds torch.compile,
 * which takes a minute to warm up. `--recompute`: both compute each layer again in the backward pass.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import { makeEpochs } from "../src/tokens/epochs.ts"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { encodeModelConfig } from "../src/models/families.ts"
import { base, smallModels } from "./models.ts"
import { startPython } from "./python.ts"
import { initialise } from "../src/models/parameters.ts"
import { causalObjective } from "../src/methods/causal/objective.ts"
import { allocateTraining, makeTrainer } from "../src/training/trainer.ts"

const [rows, length] = [4, 256]

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "6" },
    models: { type: "string", default: Object.keys(smallModels).join(",") },
    threads: { type: "string", default: "1,2" },
    compiled: { type: "boolean", default: false },
    recompute: { type: "boolean", default: false }
  }
})
const rounds = Number(flags.rounds)
/** Steps of a turn: enough to be a pace, few enough that both meet the same noise. */
const stepsPerTurn = 8
const warmUp = 3

interface Contender {
  readonly name: string
  /** Milliseconds of some steps. */
  readonly turn: (steps: number) => Promise<ReadonlyArray<number>>
}

const startTorch = async (config: ModelConfig, threads: number, compiled: boolean) => {
  const { end, next, send } = startPython("step.py")
  send({ config: encodeModelConfig(config), rows, length, threads, compiled, recompute: flags.recompute })
  const { parameters, torch } = await next<{ readonly torch: string; readonly parameters: number }>()
  if (parameters !== countParameters(config))
    throw new Error(`PyTorch's model has ${parameters} parameters, ours ${countParameters(config)}`)
  const turn = async (steps: number) => {
    send(steps)
    return (await next<{ readonly milliseconds: ReadonlyArray<number> }>()).milliseconds
  }
  return { name: `PyTorch ${torch}${compiled ? ", compiled" : ""}`, turn, end }
}

const compare = (model: string, config: ModelConfig, threads: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads })
      const buffers = yield* allocateTraining(engine, parameterSpecs(config), [])
      yield* initialise(engine, buffers.parameters, 1)
      const sequences = Array.from({ length: 64 }, (_, s) =>
        Int32Array.from({ length }, (_token, i) => (s * 7919 + i * 104_729) % base.vocab_size)
      )
      const objective = causalObjective(config, {
        sequences,
        epochs: makeEpochs(
          sequences.map(() => length),
          { seed: 1, capacity: length, rowsPerStep: rows }
        ),
        microBatchRows: rows,
        length,
        pad: 0,
        averaging: "tokens"
      })
      const trainer = yield* makeTrainer(engine, objective, buffers, {
        optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
        groups: [{ offset: 0, size: countParameters(config), rateFactor: 1, decays: true }],
        maxGradNorm: 1,
        checkpointLayers: flags.recompute
      })
      let done = 0
      const ours: Contender = {
        name: "pipeline (ort)",
        turn: async steps => {
          const milliseconds: Array<number> = []
          for (let i = 0; i < steps; i++) {
            const start = performance.now()
            await Effect.runPromise(
              Effect.flatMap(objective.microBatches(done), batches =>
                trainer.step(batches, { lr: 1e-3, update: ++done })
              )
            )
            milliseconds.push(performance.now() - start)
          }
          return milliseconds
        }
      }
      const torches = yield* Effect.promise(() =>
        Promise.all([false, ...(flags.compiled ? [true] : [])].map(compiled => startTorch(config, threads, compiled)))
      )
      const contenders: ReadonlyArray<Contender> = [ours, ...torches]
      const times = new Map<string, Array<number>>(contenders.map(({ name }) => [name, []]))
      yield* Effect.promise(async () => {
        for (const { turn } of contenders) await turn(warmUp)
        for (let round = 0; round < rounds; round++)
          for (const { name, turn } of contenders) times.get(name)!.push(...(await turn(stepsPerTurn)))
        for (const { end } of torches) end()
      })
      return contenders.map(({ name }) => ({
        model,
        parameters: countParameters(config),
        threads,
        name,
        milliseconds: times.get(name)!
      }))
    })
  )

const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!

const results: Array<Effect.Success<ReturnType<typeof compare>>[number]> = []
for (const model of flags.models.split(",")) {
  const config = smallModels[model]
  if (config === undefined) throw new Error(`there is no ${model}; there are ${Object.keys(smallModels).join(", ")}`)
  for (const threads of flags.threads.split(",").map(Number))
    results.push(...(await Effect.runPromise(compare(model, config, threads))))
}
const cells = results.map(({ milliseconds, model, name, threads }) => {
  const own = results.find(each => each.model === model && each.threads === threads)!
  const median = quantile(milliseconds, 0.5)
  return [
    model,
    String(threads),
    name,
    median.toFixed(1),
    `${quantile(milliseconds, 0.1).toFixed(1)}–${quantile(milliseconds, 0.9).toFixed(1)}`,
    ((rows * length * 1000) / median).toFixed(0),
    `${(median / quantile(own.milliseconds, 0.5)).toFixed(2)} x`
  ]
})
console.log(
  table(
    [["model", "threads", "", "ms (median)", "p10–p90", "tok/s", "time to ours"], ...cells],
    new Set([1, 3, 4, 5, 6])
  )
)
const folder = join(import.meta.dirname, "results")
mkdirSync(folder, { recursive: true })
writeFileSync(
  join(folder, flags.recompute ? "step-recompute.json" : "step.json"),
  `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), processor: cpus()[0]?.model, node: process.version, tokens: rows * length, results }, null, 2)}\n`
)
