/** The settings of variational flow maps: the adapter, how it is trained, and the ways of the seed beside those of the paper. */
import { Schema } from "effect"
import { consistent } from "../../config/consistent.ts"
import { Count, NonNegative, Positive, setting, Share } from "../../config/setting.ts"
import { snakeKeys } from "../../config/snakeKeys.ts"
import { CorruptionSettings } from "../shared/masks/corruption.ts"
import { VfmArchitecture } from "./networks.ts"
import { trainNames, trainRules } from "../../training/model.ts"
import { boundFields, freshAreTrained, needs } from "../shared/settings.ts"

export const VfmSettings = Schema.Struct({
  ...VfmArchitecture.fields,
  /** Deviation of the data term, and of pure noise */
  tau: setting(Positive, 1),
  /** Deviation of the term of the visible tokens */
  sigma: setting(Positive, 1),
  /** Share of the documents whose noise is the adapter's; of the others it is pure */
  alpha: setting(Share, 0.5),
  /** Learning rate of the adapter, as a multiple of the training's, which is meant for a language model that is already trained */
  lrFactor: setting(Positive, 1),
  /** The language model is not trained */
  freezeBase: setting(Schema.Boolean, true),
  /** Dropout in the adapter */
  adapterDropout: setting(Share, 0.1),
  /** Weight of the divergence from the standard normal distribution */
  beta: setting(NonNegative, 1),
  /** Steps over which this weight rises from 0 */
  klWarmupSteps: setting(Count, 0),
  /** Nats of divergence of each element that are not penalised */
  klFreeBits: setting(NonNegative, 0),
  /** The divergence of a position is the mean over the width; or the sum, as in the seed, which outweighs everything else */
  klScale: setting(Schema.Literals(["dimension", "sum"]), "dimension"),
  /** The data term: the cross-entropy of masked tokens; or, as in the seed, the squared distance of the last states from embeddings */
  dataLoss: setting(Schema.Literals(["categorical", "embedding"]), "categorical"),
  /** Where targets are read: in the text; or, as in the seed, after masking, where they are masks */
  targets: setting(Schema.Literals(["clean", "masked"]), "clean"),
  /** Which tokens count as visible: those without a mask; or, as in the seed, as many from the beginning */
  observed: setting(Schema.Literals(["unmasked", "prefix"]), "unmasked"),
  /** Pure noise takes the place of visible tokens as well, as in the seed; matters where noise_input is replacing */
  pureNoiseEverywhere: setting(Schema.Boolean, false)
})
export type VfmSettings = typeof VfmSettings.Type

/** Parameters of the stage `train` with this method. */
export const VfmParameters = snakeKeys(
  Schema.Struct({
    method: Schema.Literal("vfm"),
    ...boundFields,
    ...CorruptionSettings.fields,
    /** Of the method `vfm`; fields as below */
    vfm: Schema.optionalKey(snakeKeys(VfmSettings))
  }),
  trainNames
).check(
  consistent(
    needs("vfm", ({ vfm }) => (vfm === undefined ? "its group: `vfm: {}` takes all defaults" : undefined)),
    ...trainRules,
    freshAreTrained,
    ({ pretrained, vfm }) =>
      pretrained || vfm?.freezeBase !== true
        ? undefined
        : { fields: ["pretrained", "vfm.freeze_base"], why: "a base of fresh parameters has to be trained" }
  )
)
