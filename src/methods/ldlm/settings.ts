/** The settings of LDLM: the networks, how latents are learnt, and the ways of the seed beside those of the paper. */
import { Schema } from "effect"
import { consistent } from "../../config/consistent.ts"
import { Count, NonNegative, Positive, PositiveInt, setting, Share } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { latentStarts } from "../shared/latents/alignedStart.ts"
import { LdlmArchitecture } from "./networks.ts"
import { trainNames, trainRules } from "../../training/model.ts"
import { needs, unboundFields } from "../shared/settings.ts"

export const LdlmSettings = Schema.Struct({
  ...LdlmArchitecture.fields,
  /** Learning rate of the networks, as a multiple of the training's, which is meant for a language model that is already trained */
  lrFactor: setting(Positive, 1),
  /** Latents begin as the positions that they stand for, and cross-attention compares them as they are; or everything is drawn at random, and training must first find out which latent stands for what */
  latentStart: setting(Schema.Literals(latentStarts), "aligned"),
  /** Standard deviation of the noise on latents that are decoded in training: it keeps the latents large */
  decoderNoiseStd: setting(NonNegative, 3),
  /** Steps over which it rises from 0 along a line */
  decoderNoiseWarmupSteps: setting(Count, 0),
  /** Steps after which the diffusion loss reaches the encoder in full */
  warmupSteps: setting(PositiveInt, 50_000),
  /** Share of it that reaches the encoder in the first step */
  warmupGammaMin: setting(Share, 1e-3),
  /** What the warm-up scales: the gradient of the diffusion loss into the encoder, as in the paper; or the whole loss, as in the seed */
  warmupScales: setting(Schema.Literals(["encoder", "loss"]), "encoder"),
  /** Probability that the denoiser is given its own earlier prediction */
  selfConditionProb: setting(Share, 0.5),
  /** Bins of the times that are drawn where the loss grows */
  adaptiveBins: setting(PositiveInt, 100),
  /** Share of a bin's running mean that stays when a loss comes in */
  adaptiveDecay: setting(Share, 0.999),
  /** Steps after which the bins' probabilities are computed anew */
  adaptiveRefresh: setting(PositiveInt, 5000),
  /** What a bin records: the loss of the sample whose time it is; or the mean loss of the batch, as in the seed */
  adaptiveLosses: setting(Schema.Literals(["sample", "batch"]), "sample"),
  /** Share of the examples whose prompt is hidden from the denoiser */
  promptDropout: setting(Share, 0.1)
})
export type LdlmSettings = typeof LdlmSettings.Type

/** Parameters of the stage `train` with this method. */
export const LdlmParameters = snakeKeys(
  Schema.Struct({
    method: Schema.Literal("ldlm"),
    ...unboundFields,
    /** Of the method `ldlm`; fields as below */
    ldlm: Schema.optionalKey(snakeKeys(LdlmSettings))
  }),
  trainNames
).check(
  consistent(
    needs("ldlm", ({ ldlm }) => (ldlm === undefined ? "its group: `ldlm: {}` takes all defaults" : undefined)),
    ...trainRules,
    ({ ldlm }) =>
      ldlm === undefined || ldlm.latentPositions || ldlm.latentStart === "random"
        ? undefined
        : { fields: ["ldlm.latent_positions", "ldlm.latent_start"], why: "an aligned start needs learned positions" },
    ({ pretrained }) =>
      pretrained
        ? undefined
        : {
            fields: ["method", "pretrained"],
            why: "latents are made of the states of the base, which ldlm does not train"
          },
    ({ attentionBlockSize }) =>
      attentionBlockSize === undefined
        ? undefined
        : { fields: ["method", "attention_block_size"], why: "the base of ldlm reads text causally, in blocks or not" },
    ({ hybridBidirectional }) =>
      hybridBidirectional === undefined
        ? undefined
        : { fields: ["method", "hybrid_bidirectional"], why: "the base of ldlm reads text causally" }
  )
)
