/** The Python process of the engine `torch`: started, asked, watched, and ended. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { EngineError } from "../Engine.ts"
import { Waiting } from "../remote.ts"
import { FrameReader, frame, type Header } from "./frames.ts"
import { pythonVariable } from "./python.ts"
import { append } from "../../pipeline/lists.ts"

/** What the process said of itself. */
export interface TorchInfo {
  readonly torch: string
  /** Version of CUDA; null where no GPU can be used. */
  readonly cuda: string | null
  readonly devices: ReadonlyArray<string>
}

/** Must be that of worker.py. */
const protocol = 2
/** Importing PyTorch from a cold disk takes a while. */
const startSeconds = 180
/** Lines of a dead process that are shown. */
const shownLines = 8

/** Beside this file; a build has a copy. */
const workerPath = fileURLToPath(new URL("./worker.py", import.meta.url))

export const torchFailed = (message: string): EngineError => new EngineError({ engine: "torch", message })
/** It may have been its memory, or the machine: the runner tries such an action again. */
const crashed = (message: string): EngineError => new EngineError({ engine: "torch", message, class: "crashed" })

const advice = `Name an interpreter that has it with --python or ${pythonVariable}, or install it: python3 -m venv .venv && .venv/bin/pip install torch`

export interface Answer {
  readonly header: Header
  readonly payload: Uint8Array
}

/** The process, as a function from requests to answers. */
export class TorchProcess {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #python: string
  readonly #waiting = new Waiting<Answer>()
  readonly #said: Array<string> = []
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
      fail(this.#die(torchFailed(`${python} did not import PyTorch within ${startSeconds} s`)))
      this.#child.kill("SIGKILL")
    }, startSeconds * 1000)
    const frames = new FrameReader((header, payload) => {
      if ("protocol" in header) {
        clearTimeout(timer)
        if (header["protocol"] === protocol) begin(header as unknown as TorchInfo)
        else
          fail(torchFailed(`its worker speaks version ${String(header["protocol"])} of the protocol, we ${protocol}`))
        return
      }
      this.#waiting.answer(
        header["id"] as number,
        header["ok"] === true
          ? Effect.succeed({ header, payload })
          : Effect.fail(torchFailed(String(header["message"])))
      )
    })
    this.#child.stdout.on("data", (chunk: Uint8Array) => frames.push(chunk))
    this.#child.stderr.setEncoding("utf8")
    this.#child.stderr.on("data", (text: string) => {
      append(
        this.#said,
        text.split("\n").filter(line => line.trim() !== "")
      )
      this.#said.splice(0, Math.max(0, this.#said.length - shownLines))
    })
    // A pipe that breaks is told of by the end of the process.
    this.#child.stdin.on("error", () => undefined)
    const ended = (error: EngineError) => {
      clearTimeout(timer)
      fail(this.#die(error))
    }
    this.#child.on("error", cause => ended(torchFailed(`${python} cannot be started: ${cause.message}. ${advice}`)))
    this.#child.on("close", (code, signal) => ended(this.#lastWords(code, signal)))
    // Whoever waits for an answer hears of a failure there.
    this.started.catch(() => undefined)
  }

  #lastWords(code: number | null, signal: string | null): EngineError {
    const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`
    const lines = this.#said.map(line => `\n  ${line}`).join("")
    const missing = this.#said.some(line => line.includes("No module named 'torch'"))
    return missing
      ? torchFailed(`${this.#python} has no PyTorch. ${advice}`)
      : crashed(`${this.#python} ${how}${lines}`)
  }

  #die(error: EngineError): EngineError {
    return this.#waiting.end(this.#closing ? torchFailed("the engine was closed") : error)
  }

  readonly ask = (request: Header, payload: Uint8Array = new Uint8Array(0)): Effect.Effect<Answer, EngineError> =>
    this.#waiting.ask(id => {
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
