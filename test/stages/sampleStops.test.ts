/** Samples of questions with stops end there: the same answers up to the stop, in fewer passes. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { cutAtStops } from "../../src/evaluation/tasks/Task.ts"
import { loadModel } from "../../src/models/artifact.ts"
import { causalGenerator } from "../../src/sessions/autoregressive.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { continuePrompts, type Made } from "../../stages/evaluate/sampling.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const newTokens = 24
const prompts = ["The house of", "A river", "Many days"]

describe("samples of questions with stops", () => {
  it.live.each(["token by token", "block by block"] as const)("end there: %s", way =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "stops-"))),
        path => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      yield* Effect.promise(() => writeTinyModel(folder))
      const engine = yield* makeOrt({ threads: 1 })
      const model = yield* loadModel(
        engine,
        readdirSync(folder).map(name => ({ name, path: join(folder, name) }))
      )
      const answers = (stops: ReadonlyArray<ReadonlyArray<string> | undefined>) =>
        Effect.gen(function* () {
          const made: Array<Made> = []
          const wanted = prompts.map((prompt, i) => ({
            question: { id: String(i), prompt, ...(stops[i] === undefined ? {} : { stops: stops[i] }) },
            sample: 0
          }))
          const keep = ({ question }: (typeof wanted)[number], found: Made) =>
            Effect.sync(() => void (made[Number(question.id)] = found))
          yield* continuePrompts({ engine, model, newTokens, steps: newTokens, seed: 3, keep }, wanted, shape =>
            way === "token by token"
              ? causalGenerator(engine, model, shape, { temperature: 1 })
              : maskedGenerator(engine, model, shape, {
                  temperature: 1,
                  alg: "maskgit_plus",
                  algTemp: 0,
                  schedule: "quota",
                  eps: 1e-3,
                  blockLength: 4
                })
          )
          return made
        })
      const whole = yield* answers([])
      // Some characters of the middle of the first two answers; the third is asked without a stop.
      const stops = whole.slice(0, 2).map(({ text }) => [text.slice(text.length / 2, text.length / 2 + 2)])
      const stopped = yield* answers(stops)
      for (const [i, { forwards, text, tokens }] of stopped.entries()) {
        const until = (full: string) => cutAtStops(full, stops[i] ?? [])
        expect(until(text)).toBe(until(whole[i]!.text))
        if (i < 2) {
          expect(text.length).toBeLessThan(whole[i]!.text.length)
          expect(tokens).toBeLessThan(whole[i]!.tokens)
          expect(forwards).toBeLessThan(whole[i]!.forwards)
          // What is behind a stop was not decoded, and is counted as little as the end of text that is not there.
          if (way === "token by token") expect(tokens).toBe(forwards)
        } else expect({ text, tokens }).toEqual({ text: whole[i]!.text, tokens: whole[i]!.tokens })
      }
    }).pipe(Effect.scoped)
  )
})
