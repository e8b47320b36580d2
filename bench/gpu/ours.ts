/** The tasks of bench/gpu on the engine `torch`. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { openTensors } from "../../src/formats/tensorFiles.ts"
import { type GeneratedTexts, maskedGenerator } from "../../src/sessions/generator.ts"
import { inputsOf, makeSession } from "../../src/sessions/session.ts"
import type { Call, Engine, EngineError } from "../../src/engines/Engine.ts"
import type { Precision } from "../../src/engines/names.ts"
import { type StartedTorch, startTorch } from "../../src/engines/torch/torch.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters } from "../../src/models/parameters.ts"
import { forward, logits, weightsOf } from "../../src/models/decoder.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { cast, input, matmul, mul, random, reshape, sub } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { allocateTraining, makeTrainer } from "../../src/training/trainer.ts"
import type { Measured, Peaks, Task } from "./measured.ts"

type Rounds = Pick<Task, "leastRounds" | "rounds" | "seconds" | "warmUp">

const rounds = <A, E>({ leastRounds, rounds: most, seconds, warmUp }: Rounds, work: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const milliseconds: Array<number> = []
    for (let i = 0; i < warmUp; i++) yield* work
    const begun = performance.now()
    while (
      milliseconds.length < most &&
      (milliseconds.length < leastRounds || performance.now() - begun < 1000 * seconds)
    ) {
      const start = performance.now()
      yield* work
      milliseconds.push(performance.now() - start)
    }
    return milliseconds
  })

/** Runs in one message to the process, whose own time must not count. */
const runsAtOnce = 10

/** Operations or bytes per second of a call that has so many: the fastest of some rounds. */
const fastest = (engine: Engine, call: Call, amount: number) =>
  Effect.map(
    rounds(
      { rounds: 5, leastRounds: 5, seconds: 0, warmUp: 2 },
      engine.run(Array.from({ length: runsAtOnce }, () => call))
    ),
    milliseconds => (runsAtOnce * amount) / (Math.min(...milliseconds) / 1000)
  )

/** How fast the device multiplies and moves numbers. `size`: rows and columns of the matrices. */
export const measurePeaks = (
  options: Pick<Task, "compiled" | "device" | "threads">,
  precisions: ReadonlyArray<Precision>,
  size: number
) =>
  Effect.gen(function* () {
    const found: { [precision in Precision]?: number } = {}
    let bandwidth = 0
    for (const precision of precisions)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { engine } = yield* start({ ...options, precision })
          // 16-bit matrices are a program's own, so that nothing is converted.
          const dtype = precision === "bf16" || precision === "f16" ? precision : "f32"
          const shape = [size, size]
          const buffers = {
            a: yield* engine.allocate(dtype, shape),
            b: yield* engine.allocate(dtype, shape),
            y: yield* engine.allocate(dtype, shape)
          }
          // Random numbers, made on the device: products of constants draw less power, and run faster.
          const key = yield* engine.allocate("i64", [2])
          yield* engine.upload(key, BigInt64Array.of(1n, 2n))
          const fill = makeProgram({ x: cast(sub(random(input("key", "i64", [2]), shape), 0.5), dtype) })
          const filled = yield* engine.compile(fill)
          for (const x of [buffers.a, buffers.b]) yield* engine.run([yield* engine.bind(filled, { key }, { x })])
          const product = makeProgram({ y: matmul(input("a", dtype, shape), input("b", dtype, shape)) })
          const { a, b, y } = buffers
          found[precision] = yield* fastest(
            engine,
            yield* engine.bind(yield* engine.compile(product), { a, b }, { y }),
            2 * size ** 3
          )
          if (bandwidth > 0) return
          const n = 4 * size ** 2
          const from = yield* engine.allocate("f32", [n])
          const to = yield* engine.allocate("f32", [n])
          const scaled = yield* engine.compile(makeProgram({ to: mul(input("from", "f32", [n]), 2) }))
          bandwidth = yield* fastest(engine, yield* engine.bind(scaled, { from }, { to }), 8 * n)
        })
      )
    return { matmul: found, bandwidth } satisfies Peaks
  })

const start = ({ compiled, device, precision, threads }: Pick<Task, "compiled" | "device" | "precision" | "threads">) =>
  startTorch({ device, precision, compiled, ...(threads === undefined ? {} : { threads }) })

/** Everything of a task, each work in memory of its own. */
export const measureOurs = (task: Task) =>
  Effect.gen(function* () {
    const milliseconds: { [work: string]: ReadonlyArray<number> } = {}
    const peakBytes: { [work: string]: number | null } = {}
    const tokens: { [work: string]: ReadonlyArray<number> } = {}
    const { peakBytes: peak, ...started } = yield* start(task)
    const note = (work: string, times: ReadonlyArray<number>) =>
      Effect.map(peak, bytes => {
        milliseconds[work] = times
        peakBytes[work] = bytes ?? null
      })
    yield* Effect.scoped(inference(task, started, note, tokens))
    if (task.training !== undefined) yield* Effect.scoped(training(task, task.training, started, note))
    return { ...started, measured: { milliseconds, peakBytes, tokens } satisfies Measured }
  })

type Started = Omit<StartedTorch, "peakBytes">
type Note = (work: string, times: ReadonlyArray<number>) => Effect.Effect<void, EngineError>

const inference = (task: Task, { engine }: Started, note: Note, tokens: { [work: string]: ReadonlyArray<number> }) =>
  Effect.gen(function* () {
    const { config, decode, directory } = task
    const specs = parameterSpecs(config)
    const buffers = yield* allocateParameters(engine, specs)
    const files = readdirSync(directory).map(name => ({ name, path: join(directory, name) }))
    yield* loadWeights(engine, buffers, yield* openTensors(files))

    const length = task.tokens.length
    const weights = weightsOf(config, inputsOf(buffers.views))
    const { final } = forward(config, weights, input("tokens", "i32", [1, length]), { causal: false })
    const outputs = { logits: logits(reshape(final, [length, config.hiddenSize]), weights) }
    const { compute, upload } = yield* makeSession(engine, outputs, buffers.views)
    yield* upload({ tokens: Int32Array.from(task.tokens) })
    yield* note("forward", yield* rounds(task, compute()))

    const { mask, newTokens, prompt } = decode
    const generator = yield* maskedGenerator(
      engine,
      { config, parameters: buffers.views, tokenShift: true, tokenizer: { maskId: mask, padId: 0, eosId: -1 } },
      { prompts: 1, promptTokens: prompt.length, newTokens },
      greedy
    )
    for (const steps of decode.steps) {
      let made: GeneratedTexts | undefined
      const once = Effect.map(generator.generate({ prompts: [prompt], steps, seed: 0 }), texts => void (made = texts))
      yield* note(`decode/${steps}`, yield* rounds({ ...task, warmUp: 1 }, once))
      tokens[`decode/${steps}`] = [...made!.sequences[0]!.subarray(prompt.length)]
    }
  })

/** What transformers is asked for as well. */
const greedy = { temperature: 0, alg: "entropy", algTemp: 0, schedule: "quota", eps: 1e-3 } as const

const training = (
  task: Task,
  { length, rows, vocabSize }: NonNullable<Task["training"]>,
  { engine }: Started,
  note: Note
) =>
  Effect.gen(function* () {
    const { config, directory } = task
    const buffers = yield* allocateTraining(engine, parameterSpecs(config), [])
    const files = readdirSync(directory).map(name => ({ name, path: join(directory, name) }))
    yield* loadWeights(engine, buffers.parameters, yield* openTensors(files))
    const sequences = Array.from({ length: 8 * rows }, (_, s) =>
      Int32Array.from({ length }, (_token, i) => (s * 7919 + i * 104_729) % vocabSize)
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
      groups: [{ offset: 0, size: buffers.parameters.flat.shape[0]!, rateFactor: 1, decays: true }],
      maxGradNorm: 1,
      checkpointLayers: false
    })
    let done = 0
    const step = Effect.suspend(() =>
      Effect.flatMap(objective.microBatches(done), batches => trainer.step(batches, { lr: 1e-4, update: ++done }))
    )
    yield* note("training", yield* rounds(task, step))
  })
