/** A bill, and a machine that has just enough for it. */
import type { Bill } from "../../src/pipeline/Bill.ts"
import type { Found } from "../../src/preflight/check.ts"

export const commit = "0123456789abcdef0123456789abcdef01234567"

export const bill: Bill = {
  engine: "torch",
  sources: [{ label: "download-model", source: `hf://models/org/name@${commit}`, gated: false }],
  fetch: [{ what: "weights", bytes: 55e9, by: "download-model" }],
  keep: [
    { what: "weights", bytes: 55e9, by: "download-model" },
    { what: "the copy in NF4", bytes: 18e9, by: "quantize" },
    { what: "adapters", bytes: 2e9 }
  ],
  memory: [{ what: "programs", bytes: 7e9 }],
  gpuMemory: [
    { what: "weights in NF4", bytes: 13e9 },
    { what: "all else", bytes: 18e9 }
  ]
}

export const enough: Found = {
  engine: "torch",
  torch: { version: "2.15.0", gpus: [{ name: "L40S", bytes: 48e9 }] },
  disk: { path: "/scratch/cache", free: 75e9 },
  held: () => 0,
  memory: { total: 64e9, free: 60e9 },
  gpus: [{ name: "L40S", bytes: 48e9 }],
  token: false
}
