/** What computes tensors here: the engine's version, its threads, and how fast it multiplies matrices. */
import { availableParallelism } from "node:os"
import { Effect } from "effect"
import { type MatmulPeak, matmulPeak } from "../../../engines/matmulPeak.ts"
import { torchDevice } from "../../../engines/names.ts"
import { findAdapter } from "../../../engines/ort/adapter.ts"
import { libraryVersion } from "../../../engines/ort/library.ts"
import { makeOrt } from "../../../engines/ort/ort.ts"
import { findPython } from "../../../engines/torch/python.ts"
import { startTorch } from "../../../engines/torch/torch.ts"
import { type Check, type Finding, ok, problem } from "./Check.ts"

const ort = Effect.match(Effect.scoped(Effect.flatMap(makeOrt(), matmulPeak)), {
  onFailure: ({ message }) =>
    problem(
      "engine ort",
      message,
      "`npm ci` installs onnxruntime-node in a checkout, for Linux (x64, arm64), macOS and Windows; a package made of it has that for Linux"
    ),
  onSuccess: peak =>
    measured("engine ort", `onnxruntime-node ${libraryVersion()}, ${availableParallelism()} threads`, peak)
})

/** A GPU is not needed: that none is found is no warning. */
const webgpu = Effect.match(
  Effect.scoped(
    Effect.gen(function* () {
      const device = yield* findAdapter
      const engine = yield* makeOrt({ device: "webgpu" })
      return { peak: yield* matmulPeak(engine), device }
    })
  ),
  {
    onFailure: reason => ok("engine webgpu", `not available: ${typeof reason === "string" ? reason : reason.message}`),
    onSuccess: ({ device = "the device of this machine", peak }) =>
      measured("engine webgpu", `onnxruntime-node ${libraryVersion()}, on ${device}`, peak)
  }
)

/** Nor is PyTorch. */
const torch = Effect.match(
  Effect.scoped(
    Effect.gen(function* () {
      const device = torchDevice()
      const { engine, info, started } = yield* startTorch({ device })
      return { device, info, started, peak: yield* matmulPeak(engine) }
    })
  ),
  {
    onFailure: ({ message }) => ok("engine torch", `not available: ${message}`),
    onSuccess: ({ device, info, peak, started }) => {
      const memory = started.memory === null ? "" : `, ${Math.round(started.memory / 2 ** 30)} GiB`
      const capability = started.capability === null ? "" : `, compute capability ${started.capability}`
      const cuda = info.cuda === null ? "" : `, CUDA ${info.cuda}`
      const where = device === "cpu" ? "the processor" : `${started.device}${memory}${capability}`
      return measured("engine torch", `PyTorch ${info.torch}${cuda} (${findPython()}), on ${where}`, peak)
    }
  }
)

const measured = (name: string, what: string, { perSecond, right }: MatmulPeak): Finding => {
  const speed = perSecond / 1e9
  const text = `${what}, ${speed.toFixed(speed < 10 ? 1 : 0)} GFLOP/s in f32`
  return right
    ? ok(name, text)
    : problem(name, `${text}, but products of matrices come out wrong`, "results of this machine cannot be trusted")
}

export const engines: Check = { name: "engines", run: () => Effect.all([ort, webgpu, torch]) }
