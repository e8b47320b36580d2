/** Writes the adapter of a trained model as PEFT loads it, with a card that says what it is, where it comes from, and what was measured. */
import { Effect, Schema } from "effect"
import { Likelihood, ModelFiles, PeftAdapter, TaskScore } from "../src/artifacts/kinds.ts"
import { LikelihoodResult, TaskResult } from "../src/evaluation/results.ts"
import { formatSource, parseSource, type Source } from "../src/hub/source.ts"
import type { AdapterBase } from "../src/models/adapter/adapterConfig.ts"
import { writePeft } from "../src/models/adapter/handingOn.ts"
import { filesOf, isWeights, openModel } from "../src/models/artifact.ts"
import { adapterSpecs } from "../src/models/config.ts"
import { countElements } from "../src/models/parameters.ts"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { modelCard } from "../src/report/modelCard.ts"
import { readResult } from "../src/report/readRuns.ts"
import { recordFile } from "../src/training/record.ts"

/** What PEFT, or this program, loads a base by. */
const loadedBy = (source: Source): AdapterBase => {
  switch (source._tag) {
    case "Hub":
      return { nameOrPath: source.repo, revision: source.revision }
    case "File":
      return { nameOrPath: source.path, revision: null }
    default:
      return { nameOrPath: formatSource(source), revision: null }
  }
}

/** All that the record says. */
const Record = Schema.Record(Schema.String, Schema.Unknown)

export const exportPeft = Stage.make("export-peft", {
  inputs: {
    model: ModelFiles,
    /** The model that the adapter was trained over, as it was before it was quantised */
    base: ModelFiles,
    likelihood: Artifact.optional(Likelihood),
    /** By the task */
    tasks: Artifact.named(TaskScore)
  },
  parameters: Schema.Struct({
    /** Where the base comes from, as the stage `download-model` is told */
    source: Schema.String,
    /** The command that makes it, as a user types it */
    command: Schema.String
  }),
  outputs: { adapter: PeftAdapter },
  resources: { cpus: 1, memoryMiB: 512 },
  run: Effect.fn("export-peft")(function* ({ inputs, outputs, parameters }) {
    const { command } = parameters
    const base = yield* Effect.mapError(Effect.fromResult(parseSource(parameters.source)), asStageError)
    const named = loadedBy(base)
    const files = yield* filesOf(inputs.model)
    const model = yield* openModel(files)
    const { adapter } = model.config.linear ?? {}
    if (adapter === undefined)
      return yield* permanent("the model has no adapter; dense weights are a model by themselves")
    const output = outputs.adapter
    const weights = inputs.base.files.filter(({ path }) => isWeights(path))
    const written = yield* writePeft(output, files, model, {
      ...named,
      sha256: Object.fromEntries(weights.map(({ path, sha256 }) => [path, sha256]))
    })
    const card = modelCard({
      base: { ...named, digest: inputs.base.digest },
      adapter,
      quantised: model.config.linear?.nf4,
      trained: { digest: inputs.model.digest, record: yield* readResult(inputs.model, recordFile, Record) },
      likelihood:
        inputs.likelihood === undefined
          ? undefined
          : yield* readResult(inputs.likelihood, "likelihood.json", LikelihoodResult),
      tasks: yield* Effect.forEach(Object.values(inputs.tasks), score => readResult(score, "score.json", TaskResult)),
      command
    })
    yield* output.write("README.md", card)
    yield* output.metadata({ files: written.length + 1, parameters: countElements(adapterSpecs(model.config)) })
  })
})
