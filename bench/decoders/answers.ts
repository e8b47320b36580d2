/** Answers of a trained diffusion model to problems of the shipped tasks, by its decoders at several thresholds: how many are right, and how fast. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import type { MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { exactMatch } from "../../src/evaluation/tasks/exactMatch.ts"
import type { Prompted } from "../../src/evaluation/tasks/Task.ts"
import { promptedTasks } from "../../src/evaluation/tasks/tasks.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import { loadWhole } from "../../src/methods/Method.ts"
import { openModel } from "../../src/models/artifact.ts"
import { greedy } from "./speeds.ts"

const answerTokens = 64
const thresholds = [0.5, 0.7, 0.9]
const taskNames = ["sort", "order", "sudoku"] as const

/** `directory`: of the model. `most`: problems of each task. */
export const answers = (directory: string, { most, threads }: { readonly most: number; readonly threads: number }) =>
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeOrt({ threads })
      const files = readdirSync(directory).map(name => ({ name, path: join(directory, name) }))
      const { method, model } = yield* loadWhole(engine, yield* openModel(files))
      const decoders: { readonly [name: string]: Partial<MaskDecoding> } = {
        "one block": { blockLength: answerTokens },
        blocks: { blockLength: 16 },
        "blocks, prefix cache": { blockLength: 16, cache: "prefix" },
        "blocks, dual cache": { blockLength: 16, cache: "dual" },
        "several blocks": { blockLength: 16, blockAddThreshold: 0.1, decodedTokenThreshold: 0.95 },
        "several blocks, dual cache": {
          blockLength: 16,
          blockAddThreshold: 0.1,
          decodedTokenThreshold: 0.95,
          cache: "dual",
          cacheDelayIter: 2
        }
      }
      const found = []
      for (const [decoder, settings] of Object.entries(decoders))
        for (const threshold of thresholds) {
          let [right, tokens, forwards, ms, problems] = [0, 0, 0, 0, 0]
          for (const task of taskNames) {
            const rows = readFileSync(join(import.meta.dirname, "../..", "assets", task, "problems.jsonl"), "utf8")
            const all = rows
              .trim()
              .split("\n")
              .map(line => JSON.parse(line) as Prompted)
            const chosen = evenly(all, most) as unknown as readonly [Prompted, ...Array<Prompted>]
            const { answers: given } = yield* exactMatch(
              {
                task: promptedTasks[task],
                problems: chosen,
                tokenizer: model.tokenizer,
                points: [{ threshold }],
                seed: 0
              },
              size =>
                Effect.map(
                  method.generator(engine, model, { ...size, newTokens: answerTokens }, {
                    ...greedy,
                    ...settings
                  } as MaskDecoding),
                  generator => ({
                    ...generator,
                    generate: request =>
                      Effect.gen(function* () {
                        // Compiles.
                        yield* generator.generate({ ...request, prompts: request.prompts.slice(0, 20) })
                        const begun = performance.now()
                        const texts = yield* generator.generate(request)
                        ms += performance.now() - begun
                        return texts
                      })
                  })
                )
            )
            for (const { forwards: own, outcome, tokens: written } of given[0].responses) {
              problems++
              right += outcome === "right" ? 1 : 0
              tokens += written
              forwards += own
            }
          }
          found.push({
            decoder,
            threshold,
            right: right / problems,
            tokensPerForward: tokens / forwards,
            tokensPerSecond: (1000 * tokens) / ms
          })
        }
      return found
    })
  )
