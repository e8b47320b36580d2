/** PyTorch as a kernel runtime: a Python process that runs programs, on an NVIDIA GPU where there is one. */
import { Effect, type Scope } from "effect"
import { encodeProgram } from "../../tensor/encode.ts"
import { alone, type Engine, type EngineError, type World } from "../Engine.ts"
import { cachedElements, defaultPrecision, type Precision, torchClass } from "../names.ts"
import { type Remote, type RemoteRequest, remoteEngine } from "../remote.ts"
import { torchFailed, type TorchInfo, TorchProcess } from "./process.ts"
import { findPython } from "./python.ts"

export interface TorchOptions {
  /** Interpreter with PyTorch; by default `findPython`. */
  readonly python?: string
  /** `cpu`, `cuda`, `cuda:1` … */
  readonly device: string
  readonly precision?: Precision
  /** Compiles programs with Inductor: a slower start, and faster runs. */
  readonly compiled?: boolean
  /** Records what a call launches on a GPU once, and replays it. Default: true. */
  readonly graphs?: boolean
  /** Threads of one operator on the processor. */
  readonly threads?: number
  /** The processes that compute together; by default what `torchrun` says in the environment. */
  readonly world?: World
}

/** What the process said of the device that it computes on. */
export interface TorchDevice {
  readonly device: string
  /** In bytes; null for the processor. */
  readonly memory: number | null
  /** As in `9.0`. */
  readonly capability: string | null
}

/** On a GPU a launch costs more than the work on a few thousand elements. */
const gpuElements = 2 ** 28

/** Rank and number of processes, as `torchrun` sets them; one process alone elsewhere. */
export const worldOf = (environment: NodeJS.ProcessEnv = process.env): World => {
  const [rank, size] = ["RANK", "WORLD_SIZE"].map(name => Number(environment[name] ?? ""))
  return size! > 1 ? { rank: rank!, size: size! } : alone
}

/** Each process of a machine computes on a GPU of its own. */
const deviceOf = (device: string, environment: NodeJS.ProcessEnv): string =>
  device === "cuda" && environment["LOCAL_RANK"] !== undefined ? `cuda:${environment["LOCAL_RANK"]}` : device

/** Starts the engine; closing the scope ends its process and frees everything that it holds. */
export const makeTorch = (options: TorchOptions): Effect.Effect<Engine, EngineError, Scope.Scope> =>
  Effect.map(startTorch(options), ({ engine }) => engine)

export interface StartedTorch {
  readonly engine: Engine
  readonly info: TorchInfo
  readonly started: TorchDevice
  /** Most bytes of the GPU that tensors had at once since this was last asked; undefined on the processor. */
  readonly peakBytes: Effect.Effect<number | undefined, EngineError>
}

/** As `makeTorch`, with what the process said of itself. */
export const startTorch = (options: TorchOptions): Effect.Effect<StartedTorch, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => new TorchProcess(options.python ?? findPython())),
      ({ end }) => end
    )
    const info = yield* Effect.tryPromise({ try: () => child.started, catch: cause => cause as EngineError })
    const { compiled = false, graphs = true, precision = defaultPrecision, threads, world = worldOf() } = options
    const device = world.size > 1 ? deviceOf(options.device, process.env) : options.device
    const gpu = device.startsWith("cuda")
    if (gpu && info.cuda === null)
      return yield* torchFailed(
        `PyTorch ${info.torch} finds no GPU here; a driver may be missing, or the build is for the processor`
      )
    const { header } = yield* child.ask({
      kind: "start",
      device,
      compiled,
      graphs,
      precision,
      processes: world.size,
      threads: threads ?? null
    })
    const remote: Remote = {
      name: "torch",
      numericClass: torchClass(device, precision),
      world,
      chunk: gpu ? gpuElements : cachedElements,
      ask: (request: RemoteRequest, payload) =>
        Effect.map(child.ask({ ...request }, payload), answer => answer.payload),
      compile: (executable, program) =>
        Effect.asVoid(child.ask({ kind: "compile", executable }, Buffer.from(encodeProgram(program)))),
      load: (buffer, { dtype, offset, path }) => Effect.asVoid(child.ask({ kind: "load", buffer, path, dtype, offset }))
    }
    return {
      engine: remoteEngine(remote),
      info,
      started: header as unknown as TorchDevice,
      peakBytes: Effect.map(
        child.ask({ kind: "statistics" }),
        ({ header: { peak } }) => (peak as number | null) ?? undefined
      )
    }
  })
