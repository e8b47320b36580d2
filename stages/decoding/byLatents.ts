/** What is asked of methods that decode latents at once, beside what is asked of all: how tokens are drawn. */
import { Schema } from "effect"
import { setting } from "../../src/config/setting.ts"
import { Sampling } from "../../src/decoding/sampling.ts"

const Decoding = Schema.Struct({
  ...Sampling.fields,
  /** Logits are divided by it before a token is drawn; 0 takes the likeliest */
  temperature: setting(Sampling.fields.temperature, 0)
})

/** Decoding, by default with these settings. */
export const decoding = (settings: (typeof Decoding)["Encoded"]) => setting(Decoding, settings)
