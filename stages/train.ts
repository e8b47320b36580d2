/** Trains a diffusion model from an autoregressive one, by one of several methods. */
import { Effect } from "effect"
import * as Stage from "../src/pipeline/Stage.ts"
import type { StageError } from "../src/pipeline/StageError.ts"
import { type ConfigOf, type TrainConfig, TrainParameters } from "../src/methods/parameters.ts"
import { type TrainContext, trainInputs, trainOutputs } from "../src/methods/shared/context.ts"

interface Method<Settings> {
  readonly run: (context: TrainContext<Settings>) => Effect.Effect<void, StageError>
}

const methods: { readonly [name in TrainConfig["method"]]: () => Promise<Method<ConfigOf<name>>> } = {
  masked: () => import("../src/methods/masked/train.ts"),
  ldlm: () => import("../src/methods/ldlm/train.ts"),
  vfm: () => import("../src/methods/vfm/train.ts"),
  cola: () => import("../src/methods/cola/train.ts")
}

export const train = Stage.make("train", {
  inputs: trainInputs,
  parameters: TrainParameters,
  outputs: trainOutputs,
  // The key covers the code of the chosen method alone.
  methods: {
    by: "method",
    dispatch: ["../src/methods/parameters.ts"],
    modules: {
      masked: ["../src/methods/masked/train.ts", "../src/methods/masked/settings.ts"],
      ldlm: ["../src/methods/ldlm/train.ts", "../src/methods/ldlm/settings.ts"],
      vfm: ["../src/methods/vfm/train.ts", "../src/methods/vfm/settings.ts"],
      cola: ["../src/methods/cola/train.ts", "../src/methods/cola/settings.ts"]
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
