/** Trains a diffusion model from an autoregressive one, by one of several methods. */
import { Effect } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { methodNames, modulesOf, type Training, trainings } from "../src/methods/Method.ts"
import { settings } from "../src/methods/settings.ts"
import { trainInputs, trainOutputs } from "../src/methods/shared/context.ts"
import { trainBy } from "../src/methods/shared/trainBy.ts"
import * as Stage from "../src/pipeline/Stage.ts"

export const train = Stage.make("train", {
  inputs: trainInputs,
  parameters: byMethod("method", "masked", settings),
  outputs: trainOutputs,
  // The key covers the code of the chosen method alone.
  methods: modulesOf(name => [`../src/methods/${name}/train.ts`, `../src/methods/${name}/settings.ts`]),
  engine: true,
  // Rows of a grid train side by side: two of one thread each do more than one after the other with two.
  resources: { cpus: 1, memoryMiB: 4096 },
  run: Effect.fn("train")(function* (context) {
    const { parameters } = context
    // The settings are those of the method that they name.
    const load = trainings[parameters.method] as () => Promise<Training<typeof parameters>>
    const { training } = yield* Effect.promise(load)
    yield* trainBy(
      context,
      training,
      methodNames.filter(name => name !== parameters.method)
    )
  })
})
