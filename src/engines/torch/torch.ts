/** PyTorch as a kernel runtime: a Python process that runs programs, on an NVIDIA GPU where there is one. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"
import { encodeProgram } from "../../tensor/encode.ts"
import { type Engine, EngineError } from "../Engine.ts"
import { type Remote, type RemoteRequest, remoteEngine } from "../remote.ts"
import { FrameReader, frame, type Header } from "./frames.ts"

export interface TorchOptions {
  /** Interpreter with PyTorch; by default `findPython`. */
  readonly python?: string
  /** `cpu`, `cuda`, `cuda:1` … */
  readonly device: string
  /** Compiles programs with Inductor: a slower start, and faster runs. */
  readonly compiled?: boolean
  /** Records what a call launches on a GPU once, and replays it. Default: true. */
  readonly graphs?: boolean
  /** Multiplies f32 matrices in TF32 on GPUs that have it. Default: false. */
  readonly tf32?: boolean
  /** Threads of one operator on the processor. */
  readonly threads?: number
}

/** What the process said of itself. */
export interface TorchInfo {
  readonly torch: string
  /** Version of CUDA; null where no GPU can be used. */
  readonly cuda: string | null
  readonly devices: ReadonlyArray<string>
}

const protocol = 1
/** Importing PyTorch from a cold disk takes a while. */
const startSeconds = 180
/** Lines of a dead process that are shown. */
const shownLines = 8

/** Beside this file in a checkout; the built program reaches it in the package's sources. */
const workerPath = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./worker.py" : "../src/engines/torch/worker.py", import.meta.url)
)

/** `PIPELINE_TORCH_PYTHON`, the active virtual environment, or `python3`. */
export const findPython = (environment: NodeJS.ProcessEnv = process.env): string => {
  const named = environment["PIPELINE_TORCH_PYTHON"]
  if (named !== undefined && named !== "") return named
  const virtual = environment["VIRTUAL_ENV"]
  return virtual === undefined || virtual === "" ? "python3" : join(virtual, "bin", "python")
}

const failed = (message: string): EngineError => new EngineError({ engine: "torch", message })

interface Answer {
  readonly header: Header
  readonly payload: Uint8Array
}

/** The process, as a function from requests to answers. */
class Worker {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #python: string
  readonly #waiting = new Map<number, (reply: Effect.Effect<Answer, EngineError>) => void>()
  readonly #said: Array<string> = []
  #lastId = 0
  #dead: EngineError | undefined
  #closing = false
  /** Writes wait for the one before, and for the pipe to have room. */
  #written: Promise<void> = Promise.resolve()
  readonly started: Promise<TorchInfo>

  constructor(python: string) {
    this.#python = python
    this.#child = spawn(python, ["-u", workerPath], { stdio: ["pipe", "pipe", "pipe"] })
    let begin: (info: TorchInfo) => void
    let fail: (error: EngineError) => void
    this.started = new Promise((resolve, reject) => {
      begin = resolve
      fail = reject
    })
    const timer = setTimeout(() => {
      this.#die(failed(`${python} did not import PyTorch within ${startSeconds} s`))
      fail(this.#dead!)
      this.#child.kill("SIGKILL")
    }, startSeconds * 1000)
    const frames = new FrameReader((header, payload) => {
      if ("protocol" in header) {
        clearTimeout(timer)
        if (header["protocol"] === protocol) begin(header as unknown as TorchInfo)
        else fail(failed(`its worker speaks version ${String(header["protocol"])} of the protocol, we ${protocol}`))
        return
      }
      const id = header["id"] as number
      const resume = this.#waiting.get(id)
      this.#waiting.delete(id)
      resume?.(
        header["ok"] === true ? Effect.succeed({ header, payload }) : Effect.fail(failed(String(header["message"])))
      )
    })
    this.#child.stdout.on("data", (chunk: Uint8Array) => frames.push(chunk))
    this.#child.stderr.setEncoding("utf8")
    this.#child.stderr.on("data", (text: string) => {
      this.#said.push(...text.split("\n").filter(line => line.trim() !== ""))
      this.#said.splice(0, Math.max(0, this.#said.length - shownLines))
    })
    // A pipe that breaks is told of by the end of the process.
    this.#child.stdin.on("error", () => undefined)
    const ended = (error: EngineError) => {
      clearTimeout(timer)
      this.#die(error)
      fail(this.#dead!)
    }
    this.#child.on("error", cause => ended(failed(`${python} cannot be started: ${cause.message}. ${advice}`)))
    this.#child.on("close", (code, signal) => ended(this.#lastWords(code, signal)))
    // Whoever waits for an answer hears of a failure there.
    this.started.catch(() => undefined)
  }

  #lastWords(code: number | null, signal: string | null): EngineError {
    const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`
    const lines = this.#said.map(line => `\n  ${line}`).join("")
    const missing = this.#said.some(line => line.includes("No module named 'torch'"))
    return failed(missing ? `${this.#python} has no PyTorch. ${advice}` : `${this.#python} ${how}${lines}`)
  }

  #die(error: EngineError): void {
    this.#dead ??= this.#closing ? failed("the engine was closed") : error
    for (const resume of this.#waiting.values()) resume(Effect.fail(this.#dead))
    this.#waiting.clear()
  }

  readonly ask = (request: Header, payload?: Uint8Array): Effect.Effect<Uint8Array, EngineError> =>
    Effect.map(this.exchange(request, payload), answer => answer.payload)

  readonly exchange = (request: Header, payload: Uint8Array = new Uint8Array(0)): Effect.Effect<Answer, EngineError> =>
    Effect.callback(resume => {
      if (this.#dead !== undefined) return resume(Effect.fail(this.#dead))
      const id = ++this.#lastId
      this.#waiting.set(id, resume)
      const before = this.#written
      this.#written = (async () => {
        await before
        const { stdin } = this.#child
        stdin.write(frame({ ...request, id }, payload.byteLength))
        if (payload.byteLength > 0 && !stdin.write(payload))
          await new Promise<void>(resolve => {
            stdin.once("drain", resolve)
            stdin.once("close", resolve)
          })
      })()
    })

  /** Closes its standard input, on which it ends by itself; a process that hangs is killed. */
  readonly end: Effect.Effect<void> = Effect.promise(async () => {
    this.#closing = true
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const closed = new Promise<void>(resolve => this.#child.once("close", () => resolve()))
    this.#child.stdin.end()
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 2000)
    await closed
    clearTimeout(timer)
  })
}

const advice =
  "Name an interpreter that has it with PIPELINE_TORCH_PYTHON, or install it: python3 -m venv .venv && .venv/bin/pip install torch"

/** Starts the engine; closing the scope ends its process and frees everything that it holds. */
export const makeTorch = (options: TorchOptions): Effect.Effect<Engine, EngineError, Scope.Scope> =>
  Effect.map(startTorch(options), ({ engine }) => engine)

/** What the process said of the device that it computes on. */
export interface TorchDevice {
  readonly device: string
  /** In bytes; null for the processor. */
  readonly memory: number | null
  /** As in `9.0`. */
  readonly capability: string | null
}

/** As `makeTorch`, with what the process said of itself. */
export const startTorch = (
  options: TorchOptions
): Effect.Effect<
  { readonly engine: Engine; readonly info: TorchInfo; readonly started: TorchDevice },
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const worker = yield* Effect.acquireRelease(
      Effect.sync(() => new Worker(options.python ?? findPython())),
      ({ end }) => end
    )
    const info = yield* Effect.tryPromise({ try: () => worker.started, catch: cause => cause as EngineError })
    const { compiled = false, device, graphs = true, tf32 = false, threads } = options
    if (device.startsWith("cuda") && info.cuda === null)
      return yield* failed(
        `PyTorch ${info.torch} finds no GPU here; a driver may be missing, or the build is for the processor`
      )
    const { header } = yield* worker.exchange({
      kind: "start",
      device,
      compiled,
      graphs,
      tf32,
      threads: threads ?? null
    })
    const remote: Remote = {
      name: "torch",
      numericClass: `torch/${device.split(":")[0]}/${tf32 ? "tf32" : "f32"}`,
      ask: (request: RemoteRequest, payload) => worker.ask({ ...request }, payload),
      compile: (executable, program) =>
        Effect.asVoid(worker.ask({ kind: "compile", executable }, Buffer.from(encodeProgram(program)))),
      // Results are computed before any buffer is written.
      overwriting: () => []
    }
    return { engine: remoteEngine(remote), info, started: header as unknown as TorchDevice }
  })
