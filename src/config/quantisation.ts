/** How weights are quantised to NF4: fields of the stage `quantize`, and of `model.qlorafy_config`. */
import { Schema } from "effect"
import { setting } from "./setting.ts"

export const quantisationFields = {
  /** Numbers of a weight that share a magnitude */
  blockSize: setting(Schema.Literals([32, 64, 128, 256, 512, 1024, 2048, 4096]), 64),
  /** Keeps the magnitudes in 8 bits */
  doubleQuant: setting(Schema.Boolean, true)
} as const
