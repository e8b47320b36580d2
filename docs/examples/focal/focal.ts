/** A method of one's own: masked diffusion with the focal loss (Lin et al. 2017), by which tokens that are nearly right count less. */
import { Effect, Schema, Stage } from "dllm-pipeline"
import {
  consistent,
  diffusionObjective,
  maskedFields,
  maskedRules,
  maskedTraining,
  nextTokenLosses,
  Ops,
  Settings,
  snakeKeys,
  trainBy,
  trainInputs,
  trainNames,
  trainOutputs
} from "dllm-pipeline/methods"

/** Mean of (1 - p)^gamma (-log p) over masked tokens, p the probability of the right one. */
const focalObjective =
  (gamma: number): typeof diffusionObjective =>
  (config, settings, data) => {
    const masked = diffusionObjective(config, settings, data)
    return {
      ...masked,
      losses: (parameter, input, options) => {
        const { losses } = nextTokenLosses(config, parameter, input, { causal: false, ...options }) // [columns], nats
        const missing = Ops.sub(1, Ops.exp(Ops.neg(losses)))
        const meanOf = (each: ReturnType<typeof Ops.sum>) => Ops.sum(Ops.mul(each, input("weights")))
        return { loss: meanOf(Ops.mul(losses, Ops.pow(missing, gamma))), mdm: meanOf(losses) }
      }
    }
  }

export const trainFocal = Stage.make("train-focal", {
  inputs: trainInputs,
  outputs: trainOutputs,
  parameters: snakeKeys(
    Schema.Struct({
      ...maskedFields,
      /** 0 is the cross-entropy. */
      gamma: Settings.setting(Settings.NonNegative, 2)
    }),
    trainNames
  ).check(consistent(...maskedRules)),
  engine: true,
  resources: { cpus: 1, memoryMiB: 4096 },
  run: Effect.fn("train-focal")(function* (context) {
    yield* trainBy(context, given => maskedTraining(given, focalObjective(given.settings.gamma)))
  })
})
