/**
 * Checkpoints of a training: parameters, moments and counters in `step-N/`. Written beside, flushed to the disk and renamed, so that a
 * directory with that name is whole. Each carries the digests of all that a training goes on from, the log so far included, and is checked before;
 * the two newest are kept, so that one of which the disk lost a byte can be done without.
 */
import { createHash } from "node:crypto"
import { createReadStream, existsSync } from "node:fs"
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { FileError, onFile } from "../formats/fileError.ts"
import { openTensors, type TensorFilesError } from "../formats/tensorFiles.ts"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { ParameterBuffers } from "../models/parameters.ts"
import { loadWeights, matchWeights, saveWeights, type WeightsError } from "../models/weights.ts"
import { metricsFile } from "./log.ts"
import { LossScale } from "./lossScale.ts"
import { ObjectiveState } from "./objective.ts"
import type { TrainingBuffers } from "./trainer.ts"

/** What a training knows besides its tensors. Random numbers and the place in the data follow from the step. */
export const TrainingState = Schema.Struct({
  /** Steps done. */
  step: Schema.Int,
  /** Steps that changed the parameters. */
  updates: Schema.Int,
  /** Steps in a row, up to this one, whose loss or gradients were not finite. */
  skippedInARow: Schema.Int,
  skipped: Schema.Int,
  tokens: Schema.Int,
  /** Those whose prediction counted in the loss. */
  labelled: Schema.Int,
  /** Operations of all matrix products; see measures.ts. */
  flops: Schema.Finite,
  /** The objective's state, where it has one. */
  memory: Schema.optionalKey(ObjectiveState),
  /** Where products are in f16. */
  lossScale: Schema.optionalKey(LossScale)
})
export type TrainingState = typeof TrainingState.Type

const Content = Schema.Struct({ size: Schema.Int, sha256: Schema.String })

const StateFile = Schema.fromJsonString(
  Schema.Struct({
    layout: Schema.String,
    state: TrainingState,
    /** By name. */
    files: Schema.Record(Schema.String, Content),
    /** Of the training's log as far as it was written. */
    log: Content
  })
)

/** A checkpoint that cannot be loaded. */
export type RestoreError = FileError | EngineError | TensorFilesError | WeightsError

export interface Checkpoints {
  /** Writes a checkpoint and removes those that are too old. */
  readonly save: (state: TrainingState) => Effect.Effect<void, FileError | EngineError>
  /**
   * Loads the newest checkpoint that is whole into the buffers; undefined when there is none. Removes those that are not; one that is, and cannot be
   * loaded now, stays.
   */
  readonly restore: Effect.Effect<TrainingState | undefined, RestoreError>
}

const kept = 2
/** One line of JSON, and its SHA-256. */
const stateName = "state.json"
const directoryOf = (step: number): string => `step-${String(step).padStart(8, "0")}`
const complete = /^step-(\d{8,})$/

/** Prefixes of the tensors' names in a checkpoint. */
const roles = ["parameters", "firstMoments", "secondMoments"] as const

/** All tensors of the state under names of their own. */
const everything = (buffers: TrainingBuffers): Pick<ParameterBuffers, "specs" | "views"> => ({
  specs: roles.flatMap(role => buffers[role].specs.map(spec => ({ ...spec, name: `${role}/${spec.name}` }))),
  views: Object.fromEntries(
    roles.flatMap(role => Object.entries(buffers[role].views).map(([name, view]) => [`${role}/${name}`, view]))
  )
})

export const makeCheckpoints = (engine: Engine, directory: string, buffers: TrainingBuffers): Checkpoints => {
  const tensors = everything(buffers)
  const layout = createHash("sha256")
    .update(JSON.stringify(tensors.specs.map(({ name, shape }) => [name, shape])))
    .digest("hex")

  const list = onFile(directory, `read ${directory}`, async () => {
    await mkdir(directory, { recursive: true })
    const names = await readdir(directory)
    return names
      .filter(name => complete.test(name))
      .sort()
      .reverse()
  })
  const remove = (name: string) =>
    onFile(directory, `remove ${join(directory, name)}`, () =>
      rm(join(directory, name), { recursive: true, force: true })
    )

  const save = Effect.fn("checkpoint.save")(function* (state: TrainingState) {
    const name = directoryOf(state.step)
    const temporary = join(directory, `${name}.tmp`)
    yield* onFile(temporary, `make ${temporary}`, async () => {
      await rm(temporary, { recursive: true, force: true })
      await mkdir(temporary, { recursive: true })
    })
    const names = yield* saveWeights(engine, name => Effect.succeed(join(temporary, name)), tensors, { format: "F32" })
    yield* onFile(temporary, `write ${temporary}`, async () => {
      const files: Record<string, typeof Content.Type> = {}
      for (const name of names) files[name] = await contentOf(join(temporary, name))
      const log = await contentOf(join(directory, metricsFile))
      const text = Schema.encodeSync(StateFile)({ layout, state, files, log })
      await writeFile(join(temporary, stateName), `${text}\n${digestOf(text)}\n`)
      for (const file of [...names, stateName, "."]) await flush(join(temporary, file))
      await rm(join(directory, name), { recursive: true, force: true })
      await rename(temporary, join(directory, name))
      await flush(directory)
    })
    const present = yield* list
    for (const old of present.slice(kept)) yield* remove(old)
  })

  /** Finds out whether a checkpoint is whole, before anything is overwritten. */
  const look = (name: string) =>
    Effect.gen(function* () {
      const path = join(directory, name)
      const { names, text } = yield* onFile(path, `read ${path}`, async () => ({
        names: await readdir(path),
        text: await readFile(join(path, stateName), "utf8")
      }))
      const [json = "", check] = text.split("\n")
      if (digestOf(json) !== check) return yield* Effect.fail("its state is damaged")
      const decoded = yield* Schema.decodeUnknownEffect(StateFile)(json)
      if (decoded.layout !== layout) return yield* Effect.fail("it is of another model")
      const wanted = [
        ...Object.entries(decoded.files).map(([file, content]) => [join(path, file), content] as const),
        [join(directory, metricsFile), decoded.log] as const
      ]
      for (const [file, { sha256, size }] of wanted) {
        const found = yield* onFile(file, `read ${file}`, () => contentOf(file, size))
        if (found.sha256 !== sha256) return yield* Effect.fail(`${file} is damaged`)
      }
      const stored = yield* openTensors(names.map(file => ({ name: file, path: join(path, file) })))
      yield* matchWeights(tensors.specs, stored)
      return { state: decoded.state, stored }
    })

  return {
    save,
    restore: Effect.gen(function* () {
      for (const name of yield* list) {
        const found = yield* Effect.result(look(name))
        if (found._tag === "Success") {
          yield* loadWeights(engine, tensors, found.success.stored)
          return found.success.state
        }
        const reason = found.failure
        // Too many open files, say: not the checkpoint's fault.
        if (reason instanceof FileError && reason.class === "storage") return yield* reason
        const why = typeof reason === "string" ? reason : reason.message
        console.error(`the checkpoint ${name} cannot be used (${why}); the one before it is tried`)
        yield* remove(name)
      }
      return undefined
    })
  }
}

const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex")

/** The size and digest of a file's first bytes, all of them by default; of a file that is not there, as if it were empty. */
const contentOf = async (path: string, first = Number.POSITIVE_INFINITY): Promise<typeof Content.Type> => {
  const hasher = createHash("sha256")
  let size = 0
  if (existsSync(path) && first > 0) {
    for await (const chunk of createReadStream(path, { end: first - 1, highWaterMark: 1024 * 1024 })) {
      hasher.update(chunk as Uint8Array)
      size += (chunk as Uint8Array).length
    }
  }
  return { size, sha256: hasher.digest("hex") }
}

const flush = async (path: string): Promise<void> => {
  const file = await open(path, "r")
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
