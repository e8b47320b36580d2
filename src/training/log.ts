/**
 * The log of a training: `metrics.jsonl`, one line per step with what was measured, and the same as a TensorBoard event file, both
 * written as it goes. A resumed training goes on behind the step from which it resumes.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, sep } from "node:path"
import { Effect } from "effect"
import { type FileError, onFile } from "../formats/fileError.ts"
import { firstRecord, scalarsRecord } from "./tensorboard.ts"

export interface Scalars {
  readonly [name: string]: number
}

/** A line of `metrics.jsonl`; numbers that are not finite are null. */
export interface Line {
  readonly step: number
  /** Seconds since 1970. */
  readonly time: number
  readonly [name: string]: number | null
}

export const metricsFile = "metrics.jsonl"
/** TensorBoard finds event files by this part of their names. */
export const eventsFile = "events.out.tfevents.pipeline"

export interface TrainingLog {
  /** `step` counts from 1. */
  readonly write: (step: number, scalars: Scalars) => Effect.Effect<void, FileError>
}

/**
 * Opens the log in a directory, with the lines up to `step` that are there. `metric` is told of every point, old ones too: whoever collects
 * them may have forgotten.
 */
export const openLog = (
  directory: string,
  step: number,
  metric: (name: string, value: number, step: number) => Effect.Effect<void>
): Effect.Effect<TrainingLog, FileError> =>
  Effect.gen(function* () {
    const path = join(directory, metricsFile)
    const events = join(directory, eventsFile)
    const earlier = yield* onFile(path, `open ${path}`, async () => {
      mkdirSync(directory, { recursive: true })
      const lines = readLines(textOf(path), step)
      writeFileSync(path, lines.map(asText).join(""))
      const records = lines.map(line => scalarsRecord(line.time, line.step, scalarsOf(line)))
      writeFileSync(events, Buffer.concat([firstRecord(lines[0]?.time ?? Date.now() / 1000), ...records]))
      return lines
    })
    const tell = (line: Line): Effect.Effect<void> =>
      Effect.forEach(Object.entries(scalarsOf(line)), ([name, value]) => metric(name, value, line.step), {
        discard: true
      })
    yield* Effect.forEach(earlier, tell, { discard: true })
    return {
      write: (at, scalars) => {
        const line: Line = { step: at, time: Date.now() / 1000, ...scalars }
        return Effect.andThen(
          onFile(path, `write ${path}`, async () => {
            appendFileSync(path, asText(line))
            appendFileSync(events, scalarsRecord(line.time, at, scalars))
          }),
          tell(line)
        )
      }
    }
  })

const asText = (line: Line): string => `${JSON.stringify(line)}\n`

const scalarsOf = ({ step: _step, time: _time, ...scalars }: Line): Scalars =>
  Object.fromEntries(Object.entries(scalars).map(([name, value]) => [name, value ?? NaN]))

/** The lines of a file of JSON Lines with a step each; the last may be torn, and others damaged: they are left out. `upTo` leaves out what a checkpoint has not seen. */
export const readLines = (text: string, upTo = Infinity): ReadonlyArray<Line> =>
  text.split("\n").flatMap(line => {
    try {
      const read = JSON.parse(line) as Line
      return read.step <= upTo ? [read] : []
    } catch {
      return []
    }
  })

/**
 * A further file of lines with a step each, beside the log. With the first lines that are appended, those of their step and later ones go: a training that resumed
 * from an earlier checkpoint has not seen them.
 */
export const lineFile = (path: string) => {
  let begun = false
  return (step: number, lines: ReadonlyArray<{ readonly step: number }>): Effect.Effect<void, FileError> =>
    onFile(path, `write ${path}`, async () => {
      const text = lines.map(line => `${JSON.stringify(line)}\n`).join("")
      if (begun) return appendFileSync(path, text)
      begun = true
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(
        path,
        readLines(textOf(path), step - 1)
          .map(asText)
          .join("") + text
      )
    })
}

/** What a file holds; nothing where there is none. */
export const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "")

/** Everything in a training's directory that is no checkpoint: the log, and what observers have written. Relative paths, in order. */
export const logFiles = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(({ name, parentPath }) =>
      join(parentPath, name)
        .slice(directory.length + 1)
        .split(sep)
        .join("/")
    )
    .filter(path => !path.startsWith("step-"))
    .sort()
