/** The decoders of Fast-dLLM (Wu et al. 2025, arXiv:2505.22618), run from a checkout of its code on our weights. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { Effect } from "effect"
import type { caches } from "../../src/decoding/accepting.ts"
import type { Engine } from "../../src/engines/Engine.ts"
import { countParameters, type ModelConfig } from "../../src/models/config.ts"
import { encodeModelConfig } from "../../src/models/families.ts"
import type { ParameterBuffers } from "../../src/models/parameters.ts"
import { saveWeights } from "../../src/models/weights.ts"
import { startPython } from "../python.ts"

const repository = "https://github.com/NVlabs/Fast-dLLM"
/** The commit whose decoders and model these are. */
const commit = "24cc59e75f20a6384bae8c905965bb090b96388e"
/** What is run of it. */
const needed = ["llada/generate.py", "llada/model/modeling_llada.py", "llada/model/configuration_llada.py"]

/** A decoder of theirs, by its arguments. */
export interface Decoder {
  readonly cache: (typeof caches)[number]
  readonly newTokens: number
  readonly blockLength: number
  /** Of the whole text; with a threshold as many as there are tokens. */
  readonly steps: number
  readonly threshold?: number
}

export interface Answer {
  readonly ms: number
  readonly passes: number
  /** Prompt and new tokens. */
  readonly tokens: ReadonlyArray<number>
}

/** The whole path of a checkout. Throws where the directory is none. */
export const checkoutOf = (directory: string): string => {
  const checkout = resolve(directory)
  const missing = needed.find(file => !existsSync(join(checkout, file)))
  const head = spawnSync("git", ["-C", checkout, "rev-parse", "HEAD"], { encoding: "utf8" })
  const fault =
    missing !== undefined
      ? `there is no ${missing} in it`
      : head.status !== 0
        ? "git does not know its commit"
        : head.stdout.trim() === commit
          ? undefined
          : `it is at commit ${head.stdout.trim()}`
  if (fault === undefined) return checkout
  throw new Error(
    `--fast-dllm: ${checkout} is not the checkout of Fast-dLLM that is measured here: ${fault}; git clone ${repository} DIRECTORY && git -C DIRECTORY checkout ${commit}`
  )
}

export interface Model extends Pick<ParameterBuffers, "specs" | "views"> {
  readonly config: ModelConfig
  readonly maskId: number
}

/** Starts Python with their model, which reads our weights, for texts behind one prompt. Ends with the scope. */
export const startFastDllm = (
  engine: Engine,
  { config, maskId, specs, views }: Model,
  options: { readonly checkout: string; readonly threads: number; readonly prompt: ReadonlyArray<number> }
) =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "fast-dllm-"))),
      made => Effect.sync(() => rmSync(made, { recursive: true }))
    )
    const names = yield* saveWeights(
      engine,
      name => Effect.succeed(join(directory, name)),
      { specs, views },
      { format: "F32" }
    )
    const { next, send } = yield* Effect.acquireRelease(
      Effect.sync(() => startPython("decoders/fast_dllm.py")),
      ({ end }) => Effect.sync(end)
    )
    const files = names.filter(name => name.endsWith(".safetensors")).map(name => join(directory, name))
    send({ ...options, config: encodeModelConfig(config), mask: maskId, files })
    const { parameters, torch } = yield* Effect.promise(() =>
      next<{ readonly torch: string; readonly parameters: number }>()
    )
    if (parameters !== countParameters(config))
      throw new Error(`Fast-dLLM's model has ${parameters} parameters, ours ${countParameters(config)}`)
    const decode = ({ blockLength, cache, newTokens, steps, threshold }: Decoder): Promise<Answer> => {
      send({ cache, new_tokens: newTokens, block_length: blockLength, steps, threshold: threshold ?? null })
      return next<Answer>()
    }
    return { torch, commit, decode }
  })
