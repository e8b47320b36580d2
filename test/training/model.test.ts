/** From data to an artifact: the weights that observers and an alignment of weight 0 may not change, and what observers leave in the log. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { Effect, Schema } from "effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { countLabelled } from "../../src/methods/shared/masks/corruptedRows.ts"
import { randomMasking } from "../../src/methods/shared/masks/corruption.ts"
import { leftToRight, trajectoryMasking } from "../../src/methods/shared/trajectories/trajectory.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialValues } from "../../src/models/parameters.ts"
import { greatest } from "../../src/pipeline/lists.ts"
import type { ArtifactWriter } from "../../src/pipeline/StageContext.ts"
import { teacherBuffers } from "../../src/methods/shared/alignment/teacher.ts"
import { languageModel, type ModelTraining, trainModel, TrainSettings } from "../../src/training/model.ts"
import { AlignmentSettings, isAligned } from "../../src/methods/shared/alignment/settings.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import { TrajectorySettings } from "../../src/methods/shared/trajectories/terms.ts"
import { drawnPanels } from "../../src/report/drawnPanels.ts"
import { readLines } from "../../src/training/log.ts"
import { diffusionObservers, ObserverSettings } from "../../src/methods/shared/observers.ts"
import { decodePanels } from "../../src/training/panelFile.ts"
import { recordFile, type TrainingRecord } from "../../src/training/record.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig } from "../support/tinyModel.ts"
import { filesIn, loadFrom, shippedDirectory } from "../support/tokenizers.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

/** Keeps an artifact's files in a folder. */
const writer = (folder: string): ArtifactWriter<unknown> => {
  const pathOf = (path: string): string => {
    const whole = join(folder, path)
    mkdirSync(dirname(whole), { recursive: true })
    return whole
  }
  return {
    write: (path, content) =>
      Effect.promise(async () => {
        if (typeof content === "string" || content instanceof Uint8Array) writeFileSync(pathOf(path), content)
        else writeFileSync(pathOf(path), Buffer.concat(await Array.fromAsync(content)))
        return { path, sha256: "", size: 0 } as never
      }),
    reserve: path => Effect.sync(() => pathOf(path)),
    place: () => Effect.die("nothing is placed"),
    adopt: () => Effect.die("nothing is adopted"),
    metadata: () => Effect.void
  }
}

const tokenizer = loadFrom(shippedDirectory)
const length = 24
const examples = Array.from({ length: 12 }, (_, i) => {
  const ids = tokenizer.encode(`Document ${i}: ${"the people of the United States ".repeat(1 + (i % 4))}`)
  return { ids: ids.slice(0, length), lossMask: new Uint8Array(Math.min(length, ids.length)).fill(1) }
})
const sequences = examples.map(({ ids }) => ids)

interface Options {
  readonly alignment?: Partial<typeof AlignmentSettings.Encoded>
  readonly observers?: Partial<typeof ObserverSettings.Encoded>
  /** How long is trained; by default 6 steps. */
  readonly labelledTokens?: number
  readonly trajectories?: boolean
  /** Nobody says what the live teacher starts from. */
  readonly unfilled?: boolean
}

/** Weights that are always the same. */
const always: ModelTraining["initial"] = (engine, { specs, views }) =>
  Effect.forEach(
    specs,
    spec =>
      engine.upload(
        views[spec.name]!,
        initialValues(
          parameterSpecs(tinyConfig).find(each => each.name === spec.name)!,
          5
        )
      ),
    { discard: true }
  )

/** Trains a few steps, from weights that are always the same; what is written lies in folders of this name. */
const trained = (
  name: string,
  { alignment = {}, labelledTokens, observers = {}, trajectories = false, unfilled = false }: Options = {}
) => {
  const folder = join(directory.path, name)
  const settings = {
    ...Schema.decodeUnknownSync(TrainSettings)({
      globalBatchSize: 2,
      ...(labelledTokens === undefined ? { epochs: 10, maxSteps: 6 } : { labelledTokens }),
      lr: 0.01,
      evalEvery: 100,
      saveFormat: "F32"
    }),
    ...Schema.decodeUnknownSync(DiffusionSettings)({}),
    ...Schema.decodeUnknownSync(AlignmentSettings)(alignment),
    ...Schema.decodeUnknownSync(TrajectorySettings)({}),
    ...Schema.decodeUnknownSync(ObserverSettings)(observers)
  }
  const orders = new Map(sequences.map((ids, i) => [i, leftToRight(4, ids.length - 4, 8)]))
  const maskingFor = (steps: number) =>
    trajectories
      ? trajectoryMasking(settings, { sequences: examples, trajectories: orders, steps, seed: settings.seed })
      : randomMasking(examples, settings, settings.seed)
  const data = { sequences, length, pad: tokenizer.padId, mask: tokenizer.maskId }
  return Effect.runPromise(
    trainModel(
      {
        checkpoint: folder,
        engine: "ort/cpu/f32",
        slots: { cpus: 1, memoryMiB: 1024, gpus: [] },
        progress: () => Effect.void,
        metric: () => Effect.void,
        outputs: { model: writer(join(folder, "model")), log: writer(join(folder, "log")) }
      },
      {
        ...languageModel(tinyConfig),
        settings,
        lengths: sequences.map(ids => ids.length),
        rowLength: length,
        initial: always,
        // A live teacher is the base.
        ...(unfilled
          ? {}
          : ({
              constants: (engine, constants) => always(engine, teacherBuffers(constants))
            } satisfies Partial<ModelTraining>)),
        objective: ({ steps, ...batch }) =>
          diffusionObjective(
            tinyConfig,
            settings,
            { ...batch, ...data, masking: maskingFor(steps), averaging: settings.averaging },
            isAligned(settings) ? { settings, steps, seed: settings.seed } : undefined,
            trajectories ? settings : undefined
          ),
        labelled: ({ epochs, steps }) => {
          const masking = maskingFor(steps)
          return step => countLabelled(epochs.rows(step), step, { ...data, masking })
        },
        evaluation: () => Effect.succeed(Effect.succeed({})),
        observers: ({ engine, epochs, steps }) =>
          diffusionObservers(engine, tinyConfig, settings, {
            ...data,
            epochs,
            masking: maskingFor(steps),
            ...(trajectories ? { trajectories: orders } : {}),
            seed: settings.seed,
            tokenizer
          }),
        tokenizer: filesIn(shippedDirectory),
        fields: {},
        record: {}
      }
    )
  ).then(() => {
    const log = join(folder, "log")
    const linesOf = (file: string) =>
      readFileSync(join(log, file), "utf8")
        .trim()
        .split("\n")
        .map(line => JSON.parse(line) as { readonly [name: string]: unknown })
    return {
      record: JSON.parse(readFileSync(join(folder, "model", recordFile), "utf8")) as TrainingRecord,
      weights: readFileSync(join(folder, "model", "model.safetensors")),
      files: readdirSync(log, { recursive: true }).map(String).sort(),
      metrics: linesOf("metrics.jsonl"),
      linesOf,
      text: (file: string) => readFileSync(join(log, file), "utf8")
    }
  })
}

/** Tokens whose prediction counted, step by step. */
const labelledSteps = ({ metrics }: Awaited<ReturnType<typeof trained>>): ReadonlyArray<number> => {
  const since = [0, ...metrics.map(line => Math.round(1e6 * Number(line["consume_labelled_tokens(M)"])))]
  return since.slice(1).map((labelled, step) => labelled - since[step]!)
}

describe("a training until so many tokens were predicted", () => {
  it.each([false, true])("ends where it has predicted about as many, along trajectories: %s", async trajectories => {
    const wanted = 700
    const found = await trained(`labelled-${trajectories}`, { labelledTokens: wanted, trajectories })
    const steps = labelledSteps(found)
    const labelled = steps.reduce((sum, step) => sum + step, 0)
    expect(found.record.labelled).toBe(labelled)
    expect(found.record.step).toBe(steps.length)
    // No length of the training comes nearer by more than a step.
    expect(Math.abs(labelled - wanted)).toBeLessThanOrEqual(greatest(steps))
    expect(found.record.tokens).toBeGreaterThan(labelled)
  })
})

const looks = { genSampleEverySteps: 3, genSampleTokens: 6, genSampleSteps: 4, panelEverySteps: 2 }

describe("a trained model", () => {
  it("aligned with weight 0, and looked at, has the bits of the baseline; with another weight it has not", async () => {
    const baseline = await trained("baseline")
    const row = await trained("row", { alignment: { reprAlignWt: 0, replayBufferCapacity: 60 }, observers: looks })
    expect(row.weights.equals(baseline.weights)).toBe(true)
    expect(row.metrics.map(line => line["training/loss"])).toEqual(baseline.metrics.map(line => line["training/loss"]))
    const aligned = await trained("aligned", { alignment: { reprAlignWt: 1 } })
    expect(aligned.weights.equals(baseline.weights)).toBe(false)
    expect(aligned.weights.length).toBe(baseline.weights.length)
    expect(aligned.metrics[5]!["losses/teacher"]).toBeGreaterThan(0)
  })

  it("is none where nobody says what a live teacher starts from", async () => {
    const training = trained("unfilled", { alignment: { reprAlignWt: 1 }, unfilled: true })
    await expect(training).rejects.toThrow(/the objective reads what nothing trains \(.*embed_tokens.*constants/)
  })

  it("comes with what was measured of every step", async () => {
    const { files, metrics } = await trained("plain")
    expect(files).toEqual(["events.out.tfevents.pipeline", "metrics.jsonl"])
    const first = metrics[0]!
    const start = parameterSpecs(tinyConfig).flatMap(spec => [...initialValues(spec, 5)])
    const norm = Math.sqrt(start.reduce((sum, x) => sum + x * x, 0))
    expect(Math.abs(Number(first["training/param_norm"]) / norm - 1)).toBeLessThan(1e-5)
    expect(Number(first["training/grad_to_param_ratio"])).toBeCloseTo(Number(first["training/grad_norm"]) / norm, 4)
    for (const line of metrics) {
      const tokens = Number(line["training/avg_effective_len"]) * 2
      expect(Number.isInteger(tokens)).toBe(true)
      expect(Number.isInteger(Math.round((tokens / Number(line["training/avg_sample_seq_len"])) * 1e6) / 1e6)).toBe(
        true
      )
      expect(Number(line["training/mask_ratio"])).toBeGreaterThan(0)
      expect(Number(line["cpu_memory_usage(%)"])).toBeLessThanOrEqual(100)
      expect(line["llrd/lr_min"]).toBeUndefined()
    }
    const tokens = metrics.reduce((sum, line) => sum + Number(line["training/avg_effective_len"]) * 2, 0)
    expect(Number(metrics[5]!["consume_tokens(B)"]) * 1e9).toBeCloseTo(tokens, 4)
  })
})

describe("observers", () => {
  it("write texts of both kinds, and panels that need nothing else", async () => {
    const { files, linesOf, metrics, text } = await trained("seen", { observers: looks, trajectories: true })
    expect(files).toEqual(["events.out.tfevents.pipeline", "generations.jsonl", "metrics.jsonl", "panels.jsonl"])
    const lines = linesOf("generations.jsonl")
    expect(lines.map(({ prompt, step }) => [step, prompt])).toEqual(
      [3, 6].flatMap(step => ["The meaning of life is", "def fibonacci(n):"].map(prompt => [step, prompt]))
    )
    for (const line of lines)
      for (const name of ["ar", "diffusion"]) {
        expect(typeof line[`${name}_text`]).toBe("string")
        expect(line[`${name}_text`]).not.toContain(tokenizer.maskToken)
      }
    expect(metrics.map(line => "inference/ar_tok_per_sec" in line)).toEqual([false, false, true, false, false, true])
    expect(metrics.map(line => "inference/diff_tok_per_sec" in line)).toEqual([false, false, true, false, false, true])
    expect(metrics.every(line => line["trajectory/fallback_frac"] === 0)).toBe(true)
    const drawable = await Effect.runPromise(decodePanels(linesOf("panels.jsonl")))
    const panels = drawnPanels(drawable, readLines(text("metrics.jsonl")))
    expect(panels.map(({ name, step }) => [step, name])).toEqual(
      [2, 4, 6].flatMap(step => ["prediction", "trajectory", "history"].map(name => [step, name]))
    )
    for (const { svg } of panels) {
      expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/)
      expect(svg.trimEnd()).toMatch(/<\/svg>$/)
      expect(svg).not.toMatch(/<(image|script|foreignObject)|url\(http/)
    }
  })

  it("of a training that goes on forget what it had not reached when it was saved", async () => {
    const folder = join(directory.path, "again", "training")
    mkdirSync(folder, { recursive: true })
    const old = (step: number) => `${JSON.stringify({ step, prompt: "old", ar_text: "", diffusion_text: "" })}\n`
    // As if a process had been killed before its first checkpoint.
    writeFileSync(join(folder, "generations.jsonl"), `${old(3)}${old(6)}{"step":9,"pro`)
    const look = { step: 4, prediction: { positions: [], confidences: [] } }
    writeFileSync(
      join(folder, "panels.jsonl"),
      [2, 4, 6].map(step => `${JSON.stringify({ ...look, step })}\n`).join("")
    )
    const { linesOf } = await trained("again", { observers: { ...looks, panelEverySteps: 4 } })
    expect(linesOf("generations.jsonl").map(({ prompt, step }) => [step, prompt])).toEqual(
      [3, 6].flatMap(step => ["The meaning of life is", "def fibonacci(n):"].map(prompt => [step, prompt]))
    )
    const panels = await Effect.runPromise(decodePanels(linesOf("panels.jsonl")))
    expect(panels.map(({ prediction, step }) => [step, prediction.positions.length > 0])).toEqual([
      [2, false],
      [4, true]
    ])
  })
})
