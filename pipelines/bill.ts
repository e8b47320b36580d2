/** What a comparison under QLoRA needs and costs: from the sizes of its model, and from the parameters in its plan. */
import { Effect } from "effect"
import { adapterOf } from "../src/methods/shared/adapterSettings.ts"
import { allLinearModules, countParameters, type ModelConfig, parameterSpecs } from "../src/models/config.ts"
import { decodeModelConfig } from "../src/models/families.ts"
import { countElements, nf4Layout, type ParameterSpec, storedBytes } from "../src/models/parameters.ts"
import { type Term, total } from "../src/pipeline/Bill.ts"
import { greatest } from "../src/pipeline/lists.ts"
import type { BillOf, PlanNode } from "../src/pipeline/Plan.ts"
import { parts, trainingMemory } from "../src/preflight/trainingMemory.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../stages/download.ts"
import { exportPeft } from "../stages/export-peft.ts"
import { quantize } from "../stages/quantize.ts"
import { tokenize } from "../stages/tokenize.ts"
import { train } from "../stages/train.ts"
import { readModelSizes } from "./config.ts"

export interface LargeModel {
  /** `configs/models/NAME.json`: the text model's fields of the released `config.json`. */
  readonly model: string
  /** Bytes of the released checkpoint that are no part of the text model: fetched, and passed over. Left out: not known. */
  readonly passedOver?: number
}

/** Released weights are in bf16; what is trained is f32. */
const [bf16, f32] = [2, 4]
/** Assumed at most: the tokenizer, documents by ranges of their files, a model's small files. */
const smallFiles = 5e7
/** Assumed of a token in a sequence and its trajectory: its id, its place in the order, and what JSON adds. */
const bytesOfToken = 16
/** A checkpoint holds an adapter and two moments; the two newest are kept. */
const checkpoints = 2 * 3
/** Assumed of the host: this program, and PyTorch with CUDA's libraries. */
const programs = 6e9

/** The nodes of a stage: their labels and decoded parameters. */
const nodesOf = <S extends { readonly name: string; readonly settings: (given: never) => unknown }>(
  nodes: ReadonlyArray<PlanNode>,
  { name }: S
) =>
  nodes.flatMap(({ label, parameters, stage }) =>
    stage.name === name ? [{ label, parameters: parameters as ReturnType<S["settings"]> }] : []
  )

const isSome = ({ bytes }: Term): boolean => bytes > 0
const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((all, each) => all + each, 0)

export const qloraBill = (large: LargeModel): BillOf => {
  // Read when somebody asks: most starts only list profiles.
  let sizes: ModelConfig | undefined
  return (nodes, { precision }) => {
    sizes ??= Effect.runSync(decodeModelConfig(readModelSizes(large.model)))
    return billOf(large, sizes, nodes, precision)
  }
}

const billOf = (
  { passedOver }: LargeModel,
  sizes: ModelConfig,
  nodes: ReadonlyArray<PlanNode>,
  precision: string
): ReturnType<BillOf> => {
  const models = nodesOf(nodes, downloadModel)
  const fetched = [...models, ...nodesOf(nodes, downloadTokenizer), ...nodesOf(nodes, downloadDocuments)]
  const quantised = nodesOf(nodes, quantize)
  const tokenised = nodesOf(nodes, tokenize)
  const length = greatest([0, ...tokenised.map(({ parameters }) => parameters.maxSeqLen)])

  const [layout] = quantised
  const base: ModelConfig =
    layout === undefined ? sizes : { ...sizes, linear: { nf4: { ...layout.parameters, modules: "auto" } } }
  const trainings = nodesOf(nodes, train).map(({ parameters }) => {
    const { gradientCheckpointing, globalBatchSize, microBatchSize = globalBatchSize } = parameters
    const adapter = "adapter" in parameters ? parameters.adapter : undefined
    const config: ModelConfig =
      adapter === undefined ? base : { ...base, linear: { ...base.linear, adapter: adapterOf(adapter, 0) } }
    return {
      trained: f32 * countElements(parts(config).trained),
      memory: trainingMemory(config, {
        batch: { rows: microBatchSize, length },
        checkpointLayers: gradientCheckpointing,
        sixteenBits: precision === "bf16" || precision === "f16"
      })
    }
  })
  const adapters = sum(trainings.map(({ trained }) => trained))

  const weights: ReadonlyArray<Term> = models.flatMap(({ label }) => [
    { what: "weights of the text model, bf16", bytes: bf16 * countParameters(sizes), by: label },
    ...(passedOver === undefined ? [] : [{ what: "weights that are passed over", bytes: passedOver, by: label }])
  ])
  const small: Term = {
    what: "documents, tokenizer, small files: at most",
    bytes: fetched.length === 0 ? 0 : smallFiles
  }
  const largest = greatest([0, ...allLinearModules(sizes).map(({ inputs, outputs }) => inputs * outputs)])
  return {
    ...(nodes.some(({ stage }) => stage.engine) ? { engine: "torch" } : {}),
    sources: fetched.map(({ label, parameters }) => ({ label, source: parameters.source, gated: false })),
    fetch: [...weights, small].filter(isSome),
    keep: [
      ...weights,
      small,
      ...quantised.map(({ label }) => ({ what: "the copy in NF4", bytes: storedInFiles(base), by: label })),
      { what: "adapters, of each training", bytes: adapters },
      { what: "adapters for PEFT", bytes: nodesOf(nodes, exportPeft).length === 0 ? 0 : adapters },
      { what: "checkpoints, while it trains", bytes: checkpoints * adapters },
      {
        what: "sequences and trajectories: at most",
        bytes: sum(
          tokenised.map(({ parameters: { documents = 0, maxSeqLen } }) => bytesOfToken * documents * maxSeqLen)
        )
      }
    ].filter(isSome),
    memory: [
      { what: "this program, PyTorch and CUDA's libraries, assumed", bytes: trainings.length === 0 ? 0 : programs },
      {
        what: "the largest weight while it is quantised, f32 twice",
        bytes: quantised.length === 0 ? 0 : 2 * f32 * largest
      }
    ].filter(isSome),
    gpuMemory: trainings
      .map(({ memory }) => memory)
      .reduce<ReadonlyArray<Term>>((a, b) => (total(b) > total(a) ? b : a), [])
  }
}

/** As the stage `quantize` writes it: what is not quantised is copied. */
const storedInFiles = (config: ModelConfig): number => {
  const specs = parameterSpecs(config)
  const isPacked = (spec: ParameterSpec): boolean => nf4Layout(spec) !== undefined
  return storedBytes(specs.filter(isPacked)) + bf16 * countElements(specs.filter(spec => !isPacked(spec)))
}
