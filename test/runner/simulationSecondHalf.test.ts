/** The other half of the simulated histories, in a file of its own so that both halves run side by side. */
import { describe } from "vitest"
import { testSeeds } from "./simulationSeeds.ts"

describe.skipIf(process.env["PIPELINE_SIM_SEEDS"] !== undefined || process.env["PIPELINE_SIM_SEED"] !== undefined)(
  "whatever crashes, freezes, fails or rots (continued)",
  () => testSeeds(1001, 1000)
)
