/**
 * A process that decodes Parquet, seen from outside. What a damaged or hostile file can do to the decoder (endless loops, arrays without end)
 * it does to that process, which is bounded in memory by the system and in time by us.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"
import { bytes as bytesText } from "../../pipeline/units.ts"
import type { Reply, Request } from "./decoderProcess.ts"

export interface DecoderLimits {
  /** Of memory, values on V8's heap and bytes beside it together. */
  readonly bytes: number
  /** How long it may work without an answer. */
  readonly millis: number
}

/** A column of a row group of 1 GB, compressed, decodes within a quarter of both. */
export const decoderLimits: DecoderLimits = { bytes: 8 * 2 ** 30, millis: 300_000 }

/** Beside this file in a checkout, an entry of its own in the built program. */
const program = (moduleUrl: string): URL =>
  new URL(moduleUrl.endsWith(".ts") ? "./decoderProcess.ts" : "./parquetDecoder.js", moduleUrl)

/** How long a process without work is kept for the next file. */
const keptMillis = 2000
const idle: Array<Decoder> = []

/** A decoder for one file at a time. */
export const decoder = (limits = decoderLimits): Effect.Effect<Decoder, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const at = idle.findIndex(kept => kept.limits === limits)
      const found = at < 0 ? new Decoder(limits) : idle.splice(at, 1)[0]!
      found.begin()
      return found
    }),
    used => Effect.sync(() => used.end())
  )

export class Decoder {
  readonly limits: DecoderLimits
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #lastId = 0
  #dead: Reply | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(limits: DecoderLimits) {
    this.limits = limits
    const kibibytes = Math.floor(limits.bytes / 1024)
    const heap = `--max-old-space-size=${Math.floor(kibibytes / 2048)}`
    // A smaller limit that is in force already stays.
    const bounded = `ulimit -c 0; ulimit -d ${kibibytes} 2>/dev/null; exec "$0" "$@"`
    const command = ["-c", bounded, process.execPath, heap, fileURLToPath(program(import.meta.url))]
    this.#child = spawn("/bin/sh", command, {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      serialization: "advanced"
    })
    this.#child.on("message", ({ id, reply }: { readonly id: number; readonly reply: Reply }) => {
      this.#watch()
      this.#waiting.get(id)?.(reply)
    })
    this.#child.on("error", cause => {
      // Of a process that started, the end says more than what could not be sent to it.
      if (this.#child.pid === undefined) this.#die(`its decoder could not be started: ${cause.message}`)
    })
    this.#child.on("exit", (code, signal) =>
      this.#die(`its decoder ended (${signal ?? code}); it may need more than ${bytesText(limits.bytes)} of memory`)
    )
  }

  begin(): void {
    clearTimeout(this.#timer)
    this.#child.ref()
    this.#child.channel?.ref()
  }

  /** Puts the process aside for the next file, unless it still works on this one. */
  end(): void {
    if (this.#dead !== undefined) return
    if (this.#waiting.size > 0) return this.#kill("it is no longer needed")
    this.#child.unref()
    this.#child.channel?.unref()
    this.#timer = setTimeout(() => this.#kill("it is no longer needed"), keptMillis).unref()
    idle.push(this)
  }

  /** Hands `take` every reply until it says that it was the last. */
  readonly ask = <A>(request: Request, take: (reply: Reply) => Effect.Effect<A, Stopped> | undefined) =>
    Effect.callback<A, Stopped>(resume => {
      const id = ++this.#lastId
      this.#waiting.set(id, reply => {
        const result = reply.type === "damage" ? Effect.fail({ what: reply.what, offset: reply.offset }) : take(reply)
        if (result === undefined) return
        this.#waiting.delete(id)
        this.#watch()
        resume(result)
      })
      if (this.#dead !== undefined) return this.#waiting.get(id)!(this.#dead)
      this.#watch()
      this.#child.send({ id, request })
    })

  #watch(): void {
    clearTimeout(this.#timer)
    if (this.#waiting.size === 0) return
    const { millis } = this.limits
    this.#timer = setTimeout(() => this.#kill(`its decoder found no end in ${millis / 1000} s and was stopped`), millis)
  }

  #kill(what: string): void {
    this.#die(what)
    this.#child.kill("SIGKILL")
  }

  #die(what: string): void {
    this.#dead ??= { type: "damage", what: `${what}; is the file damaged?`, offset: undefined }
    clearTimeout(this.#timer)
    const at = idle.indexOf(this)
    if (at >= 0) idle.splice(at, 1)
    for (const take of this.#waiting.values()) take(this.#dead)
  }
}

/** Why there is no answer. */
export interface Stopped {
  readonly what: string
  readonly offset: number | undefined
}
