/** `pipeline export`: results in the formats of other tools. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { Effect, Option, Result } from "effect"
import { Flag } from "effect/cli"
import { verb } from "../verb.ts"
import { exportOnnx } from "../../engines/ort/export.ts"
import { type Output, writeMerged, writePeft } from "../../models/adapter/handingOn.ts"
import { openModel, tensorsBeside } from "../../models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../../models/config.ts"
import { parameterInputs } from "../../models/parameters.ts"
import { forward, logits, weightsOf } from "../../models/decoder.ts"
import { matchWeights } from "../../models/weights.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { asStageError } from "../../pipeline/StageError.ts"
import type { HostArray } from "../../tensor/dtype.ts"
import { input, reshape } from "../../tensor/ops.ts"
import { decodeProgram, encodeProgram } from "../../tensor/encode.ts"
import { makeProgram } from "../../tensor/Program.ts"
import { programText } from "../../tensor/text.ts"
import { elements } from "../../tensor/Tensor.ts"
import { exportAnchors } from "./export/anchors.ts"
import { exportPanels, logKind } from "./export/panels.ts"
import { trajectoriesKind, trajectoriesText } from "./export/trajectories.ts"
import { fromHere } from "../../pipeline/Origin.ts"
import { ownField } from "../../pipeline/ownField.ts"
import * as flags from "../flags.ts"
import { stoppable } from "../interruption.ts"
import { nodeDisk } from "../../store/NodeDisk.ts"
import { artifactFor, attempt, nameOf, needCache, warnIfSuspect } from "../look.ts"
import { findModel } from "../modelSource.ts"

const defaultLength = 128

/** Of several results of an action that which is meant. */
const kinds = { panels: logKind, trajectories: trajectoriesKind } as const

export const command = verb("export", {
  about: "Write a result in a format of other tools",
  examples: {
    "pipeline export embedded:teacher --to onnx -o teacher.onnx": "A graph with weights, for Netron or an ONNX runtime",
    "pipeline export embedded:teacher --to text -o teacher.txt --length 16":
      "What is computed, a line for each operation",
    "pipeline export 9a6e185fd0ac --to files -o teacher": "A model that transformers loads with from_pretrained",
    "pipeline export convert/train/my-model --to peft --base-model Qwen/Qwen3-0.6B -o adapter":
      "The adapter of a model that was trained by QLoRA, for PeftModel.from_pretrained",
    "pipeline export convert/train/my-model --to merged -o dense": "The same as dense weights, in the base's layout",
    "pipeline export compare-50x/anchor --to anchors -o anchors":
      "{key[:2]}/{key}.safetensors and manifest.json, as programs in Python read them",
    "pipeline export compare-50x/trajectories/scheduled --to trajectories -o orders.jsonl":
      "idx, trajectory, nfe, prompt_len of each sequence",
    "pipeline export compare-50x/train/with_trajectory --to panels -o panels":
      "Orders, predictions and losses of a training, a picture each"
  },
  takes: {
    reference: flags.argument(
      "ref",
      "An artifact: digits of its digest, or PIPELINE/STAGE; for onnx, program and text also embedded:NAME, a directory in Hugging Face layout, or the file of a program"
    ),
    to: flags.choice(
      "to",
      ["files", "peft", "merged", "onnx", "program", "text", "anchors", "trajectories", "panels"],
      "files: copies of the artifact's files (a model in Hugging Face layout, a TensorBoard directory, …); peft: a model's adapter as PEFT loads it; merged: dense weights that have taken the adapter in; onnx: a model's forward pass as a graph; program: the same as engines are given it, in JSON; text: the same to be read, a line for each operation; anchors: a teacher's hidden states, a safetensors file per sequence; trajectories: the orders of revealing, JSON Lines in the field's format; panels: pictures of a training, SVG files"
    ),
    output: flags
      .text("output", "PATH", "A new directory for files, peft, merged, anchors and panels; else a new file")
      .pipe(Flag.withAlias("o")),
    length: flags
      .whole("length", "N", `onnx, program, text: tokens of the pass; shapes are static (default: ${defaultLength})`)
      .pipe(flags.atLeast(1), Flag.withDefault(defaultLength)),
    bidirectional: flags.toggle(
      "bidirectional",
      "onnx, program, text: every token sees all others, or as far as config.json lets it, as in a diffusion model"
    ),
    withoutWeights: flags.toggle(
      "without-weights",
      "onnx: weights are inputs of the graph instead of part of the file"
    ),
    base: flags.base,
    baseModel: flags.optionalText(
      "base-model",
      "NAME",
      "peft: what PEFT loads the base by, org/name on the hub or a directory"
    ),
    cache: flags.cache
  },
  run: Effect.fn("export")(function* (args) {
    const path = resolve(args.output)
    const directory = directories.has(args.to)
    if (existsSync(path) && (!directory || readdirSync(path).length > 0))
      return yield* new ConfigError({
        at: `--output ${args.output}`,
        message: `is there already${directory ? ", and not empty" : ""}`
      })
    const write = (content: string | Uint8Array) =>
      Effect.sync(() => {
        mkdirSync(dirname(path), { recursive: true })
        writeFileSync(path, content)
      })
    if (args.to === "onnx" || args.to === "program" || args.to === "text") {
      const isFile = statSync(args.reference, { throwIfNoEntry: false })?.isFile() === true
      const pass = yield* isFile ? readProgram(args.reference) : forwardPass(args)
      yield* write(yield* written[args.to](pass, args))
    } else if (args.to === "peft" || args.to === "merged") {
      const { files } = yield* findModel(args.reference, args.cache, args.base)
      const model = yield* openModel(files)
      const output = folder(path)
      const nameOrPath = Option.getOrNull(args.baseModel)
      yield* args.to === "merged"
        ? writeMerged(output, files, model)
        : writePeft(output, files, model, { nameOrPath, revision: null })
    } else {
      const { database, store } = yield* needCache(args.cache)
      const name = yield* nameOf(args.reference)
      const artifact = yield* artifactFor(database, name, ownField(kinds, args.to))
      yield* attempt(() => warnIfSuspect(database, artifact))
      const { digest } = artifact
      const manifest = yield* store.readManifest(digest)
      if (args.to === "files") yield* store.materialiseArtifact(manifest, path, { onto: nodeDisk })
      else if (args.to === "anchors") yield* exportAnchors(store, digest, manifest, path)
      else if (args.to === "panels") yield* exportPanels(store, digest, manifest, path)
      else yield* write(yield* trajectoriesText(store, digest, manifest))
    }
    process.stderr.write(`wrote ${fromHere(path)}\n`)
  }, stoppable())
})

/** What is written as several files. */
const directories: ReadonlySet<string> = new Set(["files", "peft", "merged", "anchors", "panels"])

/** Writes files into a new directory. */
const folder = (path: string): Output => {
  mkdirSync(path, { recursive: true })
  return {
    reserve: name => Effect.succeed(join(path, name)),
    write: (name, content) =>
      Effect.tryPromise({
        try: () => writeFile(join(path, name), content),
        catch: cause => asStageError(cause as Error)
      })
  }
}

interface ForwardArguments {
  readonly reference: string
  readonly length: number
  readonly bidirectional: boolean
  readonly withoutWeights: boolean
  readonly cache: Parameters<typeof findModel>[1]
  readonly base: Parameters<typeof findModel>[2]
}

/** A program that was exported before, with nothing stored. */
const readProgram = (path: string) => {
  const read = decodeProgram(readFileSync(path, "utf8"))
  return Result.isSuccess(read)
    ? Effect.succeed({ program: read.success, specs: [], stored: new Map<string, never>() })
    : Effect.fail(new ConfigError({ at: path, message: read.failure.message }))
}

/**
 * A model's forward pass, tokens i32 [1, length] -> logits f32 [1, length, V], and where the parameters that it reads lie. Of a model with a latent model
 * beside it, the language model's alone.
 */
const forwardPass = Effect.fn("forwardPass")(function* (args: ForwardArguments) {
  const { files } = yield* findModel(args.reference, args.cache, args.base)
  const model = yield* openModel(files)
  const { config, tensors } = model
  const specs = parameterSpecs(config)
  const stored = yield* matchWeights(specs, tensors, parameterAliases(config), tensorsBeside(model))
  const weights = weightsOf(config, parameterInputs(specs))
  const { final } = forward(config, weights, input("tokens", "i32", [1, args.length]), {
    causal: !args.bidirectional
  })
  const rows = logits(reshape(final, [args.length, config.hiddenSize]), weights)
  return { program: makeProgram({ logits: reshape(rows, [1, args.length, config.vocabSize]) }), specs, stored }
})
type ForwardPass = Effect.Success<ReturnType<typeof forwardPass>>

const asOnnx = Effect.fn("asOnnx")(function* ({ program, specs, stored }: ForwardPass, args: ForwardArguments) {
  const values: { [name: string]: HostArray } = {}
  if (!args.withoutWeights)
    for (const { name, shape } of specs) values[name] = yield* stored.get(name)!.floats(0, elements(shape))
  return yield* Effect.try({
    try: () => exportOnnx(program, values),
    catch: cause =>
      new ConfigError({
        at: args.reference,
        message: cause instanceof Error ? cause.message : String(cause),
        advice: "--without-weights writes the graph alone"
      })
  })
})

/** What a file holds of a forward pass. */
const written = {
  onnx: asOnnx,
  program: ({ program }: ForwardPass) => Effect.succeed(`${encodeProgram(program)}\n`),
  text: ({ program }: ForwardPass) => Effect.succeed(programText(program))
}
