/** Trains a diffusion model from an autoregressive one, by one of several methods. */
import { Effect } from "effect"
import * as Artifact from "../src/pipeline/Artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import type { StageContext } from "../src/pipeline/StageContext.ts"
import type { StageError } from "../src/pipeline/StageError.ts"
import { type ConfigOf, type TrainConfig, TrainParameters } from "../src/training/parameters.ts"
import type { CommonSettings } from "../src/training/settings/common.ts"
import { Anchors, ModelFiles, TokenSequences, TrainingLog, Trajectories } from "./kinds.ts"

const inputs = {
  base: ModelFiles,
  sequences: TokenSequences,
  heldOut: TokenSequences,
  /** States to align with; without them a copy of the base computes them in every step. */
  anchors: Artifact.optional(Anchors),
  /** Needed where `trajectory_mode` is not `none`. */
  trajectories: Artifact.optional(Trajectories)
} as const
const outputs = { model: ModelFiles, log: TrainingLog } as const

/** What is handed to whatever all methods share. */
export type TrainContext<Settings = CommonSettings> = StageContext<typeof inputs, Settings, typeof outputs>

/** What a method is handed. */
export type ContextOf<Name extends TrainConfig["method"]> = TrainContext<ConfigOf<Name>>

interface Method<Settings> {
  readonly run: (context: TrainContext<Settings>) => Effect.Effect<void, StageError>
}

const methods: { readonly [name in TrainConfig["method"]]: () => Promise<Method<ConfigOf<name>>> } = {
  masked: () => import("./train/masked.ts"),
  ldlm: () => import("./train/ldlm.ts"),
  vfm: () => import("./train/vfm.ts"),
  cola: () => import("./train/cola.ts")
}

export const train = Stage.make("train", {
  inputs,
  parameters: TrainParameters,
  outputs,
  // The key covers the code of the chosen method alone.
  methods: {
    by: "method",
    dispatch: ["../src/training/parameters.ts"],
    modules: {
      masked: ["./train/masked.ts", "../src/training/settings/masked.ts"],
      ldlm: ["./train/ldlm.ts", "../src/training/settings/ldlm.ts"],
      vfm: ["./train/vfm.ts", "../src/training/settings/vfm.ts"],
      cola: ["./train/cola.ts", "../src/training/settings/cola.ts"]
    }
  },
  engine: true,
  // Rows of a grid train side by side: two of one thread each do more than one after the other with two.
  resources: { cpus: 1, memoryMiB: 4096 },
  run: Effect.fn("train")(function* (context) {
    const { parameters } = context
    // The settings are those of the method that they name.
    const { run } = yield* Effect.promise(methods[parameters.method] as () => Promise<Method<TrainConfig>>)
    yield* run({ ...context, parameters: { ...parameters, seed: parameters.seed + parameters.seedOffset } })
  })
})
