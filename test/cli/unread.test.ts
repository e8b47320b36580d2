/** Flags that nobody would read: which are refused where, and that those which are refused by the settings beside them change no text. */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Option, Schema } from "effect"
import * as fc from "fast-check"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { decodingNames } from "../../src/cli/verbs/generate/decodingFlags.ts"
import type { DecodingFlags } from "../../src/cli/verbs/generate/settings.ts"
import { checkDecoding } from "../../src/cli/verbs/generate/unread.ts"
import { BlockDecoding } from "../../src/decoding/blockSettings.ts"
import { decodeBlocks } from "../../src/decoding/blocks.ts"
import type { Denoiser } from "../../src/decoding/diffusion.ts"
import { wholeReader } from "../../src/decoding/textPass.ts"
import { decodings, type MethodName } from "../../src/methods/Method.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { pipeline } from "../support/commandLine.ts"
import { diffusionGenerate } from "../support/diffusionGenerate.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { serve } from "../support/server.ts"
import { hybridConfig, modelConfig, tinyConfig, tinyLatent, writeTinyModel } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
  await writeTinyModel(join(directory.path, "vfm"), tinyConfig, tinyLatent)
})
afterAll(() => directory.remove())

const none = Object.fromEntries(decodingNames.map(name => [name, Option.none()])) as unknown as DecodingFlags
type Given = { readonly [name: string]: unknown }

/** The flag that is refused, and why; undefined where all are read. */
const refused = async (
  given: Given,
  {
    chat = false,
    config = tinyConfig,
    latent,
    method = "masked",
    mode = "diffusion"
  }: {
    readonly mode?: "ar" | "diffusion"
    readonly chat?: boolean
    readonly method?: MethodName
    readonly config?: typeof tinyConfig
    readonly latent?: object
  } = {}
): Promise<string | undefined> => {
  const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, Option.some(value)]))
  const model = { config, ...(latent === undefined ? {} : { latent: { method, ...latent } }) }
  const found = await Effect.runPromise(
    Effect.result(
      checkDecoding({ ...none, ...flags } as DecodingFlags, flags, {
        mode,
        chat,
        drafts: "draftTokens" in given,
        method: await decodings[method](),
        model: model as never
      })
    )
  )
  return found._tag === "Failure" ? `${found.failure.at}: ${found.failure.message}` : undefined
}

/** A value of each flag with which it is read in diffusion, and what else must be given. */
const ofDiffusion: { readonly [name: string]: Given } = {
  steps: { steps: 4 },
  alg: { alg: "entropy" },
  algTemp: { algTemp: 0.3 },
  schedule: { schedule: "kappa", alg: "entropy" },
  eps: { eps: 0.1, alg: "origin" },
  blockLength: { blockLength: 4 },
  threshold: { threshold: 0.5 },
  factor: { factor: 1 },
  entropyThreshold: { entropyThreshold: 1 },
  entropyBound: { entropyBound: 1 },
  blockAddThreshold: { blockAddThreshold: 0.5, blockLength: 4, threshold: 0.9 },
  decodedTokenThreshold: { decodedTokenThreshold: 0.5, blockAddThreshold: 0.5, blockLength: 4 },
  kvCache: { kvCache: "dual" },
  cacheDelayIter: { cacheDelayIter: 2, kvCache: "prefix" },
  refreshInterval: { refreshInterval: 2, kvCache: "prefix" },
  verbose: { verbose: true },
  historyOut: { historyOut: "x.svg" }
}

describe("a flag that nobody reads is refused", () => {
  it("by the mode and the method", async () => {
    for (const [name, given] of Object.entries(ofDiffusion)) {
      assert.isUndefined(await refused(given), name)
      const flag = `--${name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`
      const alone = { [name]: given[name] }
      assert.match((await refused(alone, { mode: "ar" }))!, new RegExp(`^${flag}: goes with mode diffusion alone`))
      // LDLM draws latents in steps, and has no masks.
      const bare = await refused(alone, { method: "ldlm" })
      if (["steps", "verbose", "historyOut"].includes(name)) assert.isUndefined(bare)
      else assert.match(bare!, new RegExp(`^${flag}: .*reveals no masks`))
    }
    for (const filter of [{ temperature: 0 }, { topP: 0.9 }, { topK: 3 }])
      for (const mode of ["ar", "diffusion"] as const)
        for (const method of ["masked", "ldlm"] as const) assert.isUndefined(await refused(filter, { mode, method }))
    const drafts = { draftTokens: 3 }
    assert.isUndefined(await refused(drafts, { mode: "ar" }))
    assert.isUndefined(await refused({ ...drafts, drafter: "x" }, { mode: "ar" }))
    assert.match((await refused({ drafter: "x" }, { mode: "ar" }))!, /^--drafter: drafts nothing without/)
    assert.match((await refused(drafts))!, /^--draft-tokens: drafts are for texts/)
    assert.match((await refused(drafts, { mode: "ar", chat: true }))!, /^--draft-tokens: drafts are for texts/)
    assert.match((await refused({ system: "Be kind." }))!, /^--system: goes with --chat/)
    assert.isUndefined(await refused({ system: "Be kind." }, { chat: true }))
  })

  it("by the settings beside it", async () => {
    const cases: ReadonlyArray<readonly [Given, RegExp]> = [
      [{ blockAddThreshold: 0.5 }, /^--block-add-threshold: goes with several blocks/],
      [{ decodedTokenThreshold: 0.5 }, /^--decoded-token-threshold: goes with several blocks/],
      [{ decodedTokenThreshold: 0.5, blockLength: 4 }, /^--decoded-token-threshold: .*blocks at a time/],
      [{ blockAddThreshold: 0.5, blockLength: 4 }, /^--block-add-threshold: changes nothing by itself/],
      [{ schedule: "kappa" }, /^--schedule: does not go with alg p2/],
      [{ schedule: "kappa", alg: "origin" }, /^--schedule: does not go with alg origin/],
      [{ algTemp: 0.5, alg: "origin" }, /^--alg-temp: does not go with alg origin/],
      [{ eps: 0.1 }, /^--eps: is the last value/],
      [{ eps: 0.1, alg: "entropy" }, /^--eps: is the last value/],
      [{ cacheDelayIter: 2 }, /^--cache-delay-iter: goes with a cache/],
      [{ refreshInterval: 2, kvCache: "none" }, /^--refresh-interval: goes with a cache/]
    ]
    for (const [given, expected] of cases) assert.match((await refused(given)) ?? JSON.stringify(given), expected)
    assert.isUndefined(await refused({ eps: 0.1, schedule: "floor", alg: "entropy" }))
  })

  it("by the model", async () => {
    const bd3lm = { method: "bd3lm", config: modelConfig({ vocabSize: 2048, attentionBlockSize: 4 }) } as const
    assert.match((await refused({ kvCache: "dual" }, bd3lm))!, /^--kv-cache: the model attends by blocks/)
    assert.match((await refused({ cacheDelayIter: 2 }, bd3lm))!, /^--cache-delay-iter: the model attends by blocks/)
    assert.match(
      (await refused({ refreshInterval: 2, kvCache: "prefix" }, bd3lm))!,
      /^--refresh-interval: the model attends by blocks/
    )
    assert.isUndefined(await refused({ kvCache: "none" }, bd3lm))
    // It has blocks of its own.
    assert.isUndefined(await refused({ blockAddThreshold: 0.5, threshold: 0.9 }, bd3lm))
    assert.match((await refused({ kvCache: "prefix" }, { method: "vfm" }))!, /^--kv-cache: cache prefix does not go/)
    assert.isUndefined(await refused({ kvCache: "none" }, { method: "vfm" }))
    const cola = (colaVae: boolean) => ({ method: "cola", latent: { architecture: { colaVae } } }) as const
    assert.match((await refused({ kvCache: "dual" }, cola(true)))!, /^--kv-cache: cache dual does not go/)
    assert.isUndefined(await refused({ kvCache: "dual" }, cola(false)))
    const twoScans = { config: hybridConfig({ vocab_size: 2048, hybrid_bidirectional: "two_scan" }) }
    assert.match((await refused({ kvCache: "dual" }, twoScans))!, /^--kv-cache: .*two_scan/)
    assert.isUndefined(await refused({ kvCache: "prefix" }, twoScans))
  })

  it("before the model is loaded, and before a file is begun", () => {
    // The engine could not be had.
    const engine = ["--engine", "torch", "--python", "/nowhere/python"]
    const call = (...words: ReadonlyArray<string>) =>
      pipeline(directory.path, ["generate", "-m", "tiny", ...engine, ...words, "The"])
    const { code, stderr } = call("--mode", "ar", "--block-length", "4")
    assert.strictEqual(code, 2, stderr)
    assert.match(stderr, /--block-length: goes with mode diffusion alone/)
    writeFileSync(join(directory.path, "kept.jsonl"), "kept")
    assert.match(call("--mode", "ar", "--history-out", "kept.jsonl").stderr, /--history-out: goes with mode diffusion/)
    assert.strictEqual(readFileSync(join(directory.path, "kept.jsonl"), "utf8"), "kept")
    assert.isFalse(existsSync(join(directory.path, "none.jsonl")))
  })

  it("by serve, when it starts: a cache that the method cannot have", async () => {
    const words = ["serve", "-m", "vfm", "--engine", "torch", "--python", "/nowhere/python", "--port", "0"]
    const { code, stderr } = pipeline(directory.path, [...words, "--kv-cache", "dual", "--block-length", "4"])
    assert.strictEqual(code, 2, stderr)
    assert.match(stderr, /--kv-cache: cache dual does not go with a method/)
    const server = await serve(directory.path, ["-m", "vfm"])
    try {
      const ask = async (fields: object) => {
        const response = await fetch(`${server.url}/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ prompt: "The", max_tokens: 4, mode: "diffusion", ...fields })
        })
        const { error } = (await response.json()) as { error?: { message: string; param: string } }
        return [response.status, error?.param, error?.message]
      }
      assert.deepStrictEqual((await ask({ kv_cache: "dual" })).slice(0, 2), [400, "kv_cache"])
      assert.deepStrictEqual((await ask({ block_add_threshold: 0.5, threshold: 0.9 })).slice(0, 2), [
        400,
        "block_add_threshold"
      ])
      assert.strictEqual((await ask({ block_length: 2 }))[0], 200)
    } finally {
      await server.stop("SIGKILL")
    }
  })
})

const [vocabSize, eos, pad, mask, newTokens] = [13, 10, 11, 12, 9]
const model = (seed: number): Denoiser<never> => ({
  vocabSize,
  length: 2 + newTokens,
  logits: (canvas, _pads, places) =>
    Effect.sync(() =>
      Float32Array.from(
        places.flatMap(place => {
          const own = randomKey(seed, "logits", place, ...canvas)
          return Array.from({ length: vocabSize }, (_, id) => 4 * uniformAt(own, id))
        })
      )
    )
})

describe("a flag that is refused by the settings beside it", () => {
  it("changes no text, and changes texts where it is not refused", () => {
    const whole = (seed: number, settings: object) =>
      Effect.runSync(
        diffusionGenerate(model(seed), {
          prompts: [[1, 2]],
          maxNewTokens: newTokens,
          mask,
          pad,
          keys: [randomKey(seed, "text")],
          settings: { steps: 6, eps: 0.01, temperature: 0, algTemp: 0, schedule: "quota", alg: "entropy", ...settings }
        })
      ).texts.map(({ ids }) => ids)
    const inBlocks = (seed: number, settings: object) =>
      Effect.runSync(
        decodeBlocks(wholeReader(model(seed), pad), [{ ids: [1, 2], newTokens, key: randomKey(1, "prompt") }], {
          rows: 1,
          mask,
          ends: new Set([eos]),
          tokenShift: true,
          settings: { ...Schema.decodeUnknownSync(BlockDecoding)({ stepsPerBlock: 3 }), ...settings }
        })
      )
    const one = { blockSize: newTokens }
    const several = { blockSize: 3 }
    const atOnce = { ...several, blockAddThreshold: 0.3 }
    /** Decoder, settings beside, and the setting in question with two values. */
    const unread: ReadonlyArray<readonly [typeof whole | typeof inBlocks, object, object, object]> = [
      [whole, { alg: "p2" }, { schedule: "quota" }, { schedule: "floor" }],
      [whole, { alg: "origin" }, { schedule: "quota" }, { schedule: "kappa" }],
      [whole, { alg: "origin" }, { algTemp: 0 }, { algTemp: 0.7 }],
      [whole, { alg: "p2", schedule: "floor" }, { eps: 0.01 }, { eps: 0.4 }],
      [whole, { alg: "entropy" }, { eps: 0.01 }, { eps: 0.4 }],
      [inBlocks, one, {}, { blockAddThreshold: 0.3 }],
      [inBlocks, several, {}, { blockAddThreshold: 0.3 }],
      [inBlocks, several, {}, { decodedTokenThreshold: 0.3 }]
    ]
    const read: typeof unread = [
      [whole, { alg: "entropy" }, { schedule: "quota" }, { schedule: "kappa" }],
      [whole, { alg: "entropy" }, { algTemp: 0 }, { algTemp: 0.7 }],
      [whole, { alg: "entropy", schedule: "floor" }, { eps: 0.01 }, { eps: 0.4 }],
      [whole, { alg: "origin" }, { eps: 0.01 }, { eps: 0.4 }],
      [inBlocks, { ...several, alg: "maskgit_plus", threshold: 0.2 }, {}, { blockAddThreshold: 0.3 }],
      [inBlocks, { ...several, decodedTokenThreshold: 0.3 }, {}, { blockAddThreshold: 0.3 }],
      [inBlocks, atOnce, {}, { decodedTokenThreshold: 0.3 }]
    ]
    fc.assert(
      fc.property(fc.nat(), seed => {
        for (const [decode, beside, a, b] of unread)
          assert.deepStrictEqual(decode(seed, { ...beside, ...a }), decode(seed, { ...beside, ...b }))
      }),
      { numRuns: 30 }
    )
    for (const [decode, beside, a, b] of read) {
      const seeds = Array.from({ length: 20 }, (_, seed) => seed)
      const texts = (more: object) => JSON.stringify(seeds.map(seed => decode(seed, { ...beside, ...more })))
      assert.notStrictEqual(texts(a), texts(b), JSON.stringify(b))
    }
  })
})
