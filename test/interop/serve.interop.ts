import { execFileSync } from "node:child_process"
import { Effect } from "effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { loadModel } from "../../src/models/artifact.ts"
import { nextTokenLossData } from "../../src/models/nextTokenLoss.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { serve, type Server } from "../support/server.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { interpreterVariable, python } from "./python.ts"

let directory: ReturnType<typeof temporaryDirectory>
let server: Server
const tokenizer = loadFrom(shippedDirectory)
const context = 64

beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
  server = await serve(directory.path, ["-m", "tiny"])
}, 120_000)
afterAll(async () => {
  await server?.stop("SIGKILL")
  directory.remove()
})

const has = (module: string): boolean => {
  try {
    execFileSync(process.env[interpreterVariable] ?? "python3", ["-c", `import ${module}`], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

describe("pipeline serve and the field's clients", () => {
  it("answers OpenAI's client: at once, streamed, chats, from masks, and errors as its exceptions", () => {
    const found = python<Record<string, unknown>>("openai_client.py", {
      url: server.url,
      model: "tiny",
      prompt: "The people of the"
    })
    expect(found["models"]).toEqual(["tiny"])
    expect(found["streamed"]).toBe(found["whole"])
    expect(found["replied"]).toBe(found["reply"])
    expect(found["usage"]).toBe(tokenizer.encode("The people of the").length + 12)
    expect(found["finish"]).toBe("length")
    expect(found["logprobs"]).toHaveLength(12)
    expect(found["replyLogprobs"]).toHaveLength(6)
    expect((found["masks"] as string).length).toBeGreaterThan(0)
    expect(found["error"]).toEqual({ code: "model_not_found", param: "model", status: 404 })
  }, 120_000)

  // Its many dependencies are not among those of these tests: where it was installed, it is asked.
  it.skipIf(!has("lm_eval"))(
    "gives lm-evaluation-harness the likelihoods that evaluation finds, one by one and together",
    async () => {
      const items = Array.from({ length: 10 }, (_, i) => [
        `${"The people of ".repeat(1 + (i % 3))}the`,
        [" United States", " land", " a", " people and", " in the beginning"][i % 5]!
      ]) as ReadonlyArray<readonly [string, string]>
      const folder = join(directory.path, "tiny")
      const files = readdirSync(folder).map(name => ({ name, path: join(folder, name) }))
      const ours = await Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const engine = yield* makeOrt({ threads: 1 })
            const { config, parameters } = yield* loadModel(engine, files)
            const shape = { rows: 1, length: context }
            const losses = yield* makeTokenLosses(engine, config, parameters, { ...shape, causal: true })
            return yield* Effect.forEach(items, ([before, behind]) =>
              Effect.gen(function* () {
                const ids = tokenizer.encode(before + behind)
                const start = tokenizer.encode(before).length
                const packed = packedArrays([ids], [[0]], { capacity: context, pad: tokenizer.padId })
                const found = yield* losses(nextTokenLossData(packed, shape))
                return -found.subarray(start - 1, ids.length - 1).reduce((sum, loss) => sum + loss, 0)
              })
            )
          })
        )
      )
      for (const { batchSize, concurrent } of [
        { batchSize: 1, concurrent: 1 },
        { batchSize: 4, concurrent: 3 }
      ]) {
        const theirs = python<ReadonlyArray<readonly [number, boolean]>>("lm_eval_completions.py", {
          url: server.url,
          model: "tiny",
          tokenizer: folder,
          context,
          items,
          batchSize,
          concurrent
        })
        expect(theirs).toHaveLength(10)
        for (const [i, [score]] of theirs.entries()) expect(Math.abs(score - ours[i]!)).toBeLessThan(1e-4)
      }
    },
    300_000
  )
})
