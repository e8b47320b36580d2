/** Answers to problems by steps and by a threshold beside a decoder of PyTorch, token for token; accuracy under parallelism beside a second implementation. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { inBlocks } from "../../src/decoding/blockSettings.ts"
import { DiffusionDecoding } from "../../src/decoding/diffusion.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { evenly } from "../../src/evaluation/selection.ts"
import { loadModel } from "../../src/models/artifact.ts"
import { aup } from "../../src/report/aup.ts"
import { untilEnd } from "../../src/sessions/generator.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { shippedDirectory } from "../support/tokenizers.ts"
import { python } from "./python.ts"
import { filesIn } from "./smallModels.ts"

const assets = join(shippedDirectory, "..")
const teacher = join(assets, "teacher")
const decoded = Schema.decodeUnknownSync(
  Schema.Struct({ ...DiffusionDecoding.fields, ...inBlocks.fields }).check(inBlocks.check)
)

const newTokens = 24
const problems = evenly(
  readFileSync(join(assets, "chain", "problems.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map(line => (JSON.parse(line) as { readonly prompt: string }).prompt),
  20
)

it.live(
  "the shipped teacher, asked as a diffusion model, answers 20 problems as PyTorch's does",
  () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeOrt({ threads: 2 })
        const model = yield* loadModel(engine, [
          ...filesIn(teacher),
          ...filesIn(shippedDirectory).filter(({ name }) => name.startsWith("tokenizer"))
        ])
        const { ends, eosId: eos, maskId: mask } = model.tokenizer
        const prompts = problems.map(model.tokenizer.encode)
        const asked = [
          { block: newTokens, steps: newTokens },
          { block: newTokens, steps: 5 },
          { block: newTokens, steps: newTokens, threshold: 0.3 },
          { block: 5, steps: 5, threshold: 0.5 }
        ]
        const theirs = python<ReadonlyArray<ReadonlyArray<{ tokens: ReadonlyArray<number>; forwards: number }>>>(
          "block_decoding.py",
          {
            action: "decode",
            directory: teacher,
            prompts: prompts.map(ids => [...ids]),
            settings: asked.map(({ block, steps, threshold }) => ({
              new_tokens: newTokens,
              block,
              steps,
              threshold: threshold ?? null,
              mask,
              eos
            }))
          }
        )
        const shape = { prompts: prompts.length, promptTokens: Math.max(...prompts.map(ids => ids.length)), newTokens }
        const passes: Array<number> = []
        for (const [s, { block, steps, threshold }] of asked.entries()) {
          const settings = {
            alg: "maskgit_plus",
            blockLength: block,
            steps,
            ...(threshold === undefined ? {} : { threshold })
          } as const
          const { generate } = yield* maskedGenerator(engine, model, shape, decoded(settings))
          const ours = yield* generate({ prompts, steps: Math.ceil(newTokens / block) * steps, seed: 0 })
          expect(
            ours.sequences.map((ids, i) => ({
              tokens: [...untilEnd(ids.subarray(prompts[i]!.length), ends)],
              forwards: ours.forwards[i]
            })),
            JSON.stringify(asked[s])
          ).toEqual(theirs[s])
          passes.push(ours.forwards.reduce((sum, own) => sum + own, 0))
        }
        // The thresholds reveal several tokens at once, and not all.
        const [alone, few, some] = passes
        expect(few).toBeLessThan(some!)
        expect(some).toBeLessThan(alone!)
      })
    ),
  // Two thousand passes of PyTorch, one after the other.
  600_000
)

it("accuracy under parallelism is that of a second implementation, on points that chance draws", () => {
  const all = Array.from({ length: 500 }, (_, n) => {
    const key = randomKey(n, "points")
    const level = 100 * uniformAt(key, 0)
    const points = Array.from({ length: 1 + (n % 8) }, (_point, i) => ({
      rate: 0.2 + 9 * uniformAt(key, 2 * i + 2),
      // Some near the first, of which some fall below the limit.
      accuracy: Math.min(100, Math.max(0, level + 14 * (uniformAt(key, 2 * i + 3) - 0.6)))
    }))
    return { points, best: Math.max(1, ...points.map(({ accuracy }) => accuracy)) + 5 * uniformAt(key, 1) }
  })
  const theirs = python<ReadonlyArray<number>>("block_decoding.py", {
    action: "aup",
    all: all.map(({ best, points }) => [points.map(({ accuracy, rate }) => [rate, accuracy]), best])
  })
  for (const [n, { best, points }] of all.entries())
    expect(Math.abs(aup(points, best) - theirs[n]!), `points ${n}`).toBeLessThan(1e-9)
})
