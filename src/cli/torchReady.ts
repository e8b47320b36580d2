/** Whether the engine `torch` can start here. */
import { Effect } from "effect"
import { torchDevice } from "../engines/names.ts"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { torchOf } from "./probes.ts"

/** Why not: Python has no PyTorch, or PyTorch sees no GPU although this machine has one. */
export const missingTorch: Effect.Effect<ConfigError | undefined> = Effect.map(torchOf, torch => {
  const refused = (message: string, advice: string) => new ConfigError({ at: "--engine torch", message, advice })
  if ("missing" in torch)
    return refused(
      `there is no PyTorch here: ${torch.missing}`,
      "install PyTorch, and name the interpreter with --python or PIPELINE_TORCH_PYTHON; `pipeline doctor` looks again"
    )
  return torchDevice() === "cpu" || torch.gpus.length > 0
    ? undefined
    : refused(
        `PyTorch ${torch.version} finds no GPU here`,
        "a driver may be missing, or the build is for the processor; PIPELINE_TORCH_DEVICE=cpu computes on that"
      )
})
