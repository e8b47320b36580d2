/** What computes tensors here: the engine's version, its threads, and how fast it multiplies matrices. */
import { createRequire } from "node:module"
import { availableParallelism } from "node:os"
import { Effect } from "effect"
import { matmulPeak } from "../../engines/matmulPeak.ts"
import { makeOrt } from "../../engines/ort/ort.ts"
import { type Check, ok, problem } from "./Check.ts"

export const engines: Check = {
  name: "engines",
  run: () =>
    Effect.match(Effect.scoped(Effect.flatMap(makeOrt(), matmulPeak)), {
      onFailure: ({ message }) => [
        problem(
          "engine ort",
          message,
          "`npm ci` installs onnxruntime-node; it exists for Linux (x64, arm64), macOS and Windows"
        )
      ],
      onSuccess: ({ perSecond, right }) => {
        const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json") as {
          readonly version: string
        }
        const what = `onnxruntime-node ${version}, ${availableParallelism()} threads, ${Math.round(perSecond / 1e9)} GFLOP/s in f32`
        return [
          right
            ? ok("engine ort", what)
            : problem(
                "engine ort",
                `${what}, but products of matrices come out wrong`,
                "results of this machine cannot be trusted"
              )
        ]
      }
    })
}
