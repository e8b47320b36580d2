/** The end of the program and its exit code: decided here alone, whatever a user's module does to the process that it is loaded into. */
import { Writable } from "node:stream"
import { Effect, type Exit, Fiber } from "effect"
import { frames, root } from "./home.ts"
import { stdout } from "./terminal/terminal.ts"
import * as awaited from "../runner/awaited.ts"

/** What went wrong outside of all that waits for it. */
export class Loose extends Error {
  readonly _tag = "Loose"
  readonly advice: string
  constructor(message: string, advice: string) {
    super(message)
    this.advice = advice
  }
}

// Taken before anybody can replace them.
const { exit } = process
const hooks = process as unknown as { reallyExit: (code: number) => never }
const reallyExit = hooks.reallyExit.bind(process)
const { write } = Writable.prototype

let leaving: number | undefined
/** Stops the program's work, which then ends as it does when it is interrupted: what it holds is given back. */
let interrupt = (): void => undefined
let isAlone = true
let loose: Error | undefined

/** A user's module is about to be loaded: from now on what nobody catches may be its. */
export const notAlone = (): void => void (isAlone = false)

/** What ended the work from outside, where something did. */
export const looseError = (): Error | undefined => loose

/** Ends the program at once. What listens for the end is called, but cannot change the code. */
export const leave = (code: number): never => {
  leaving ??= code
  try {
    return exit.call(process, leaving) as never
  } catch {
    return reallyExit(leaving)
  }
}

const refuse = (code?: unknown): never => {
  throw new Error(
    `process.exit(${code === undefined ? "" : String(code)}) was called, where only the program itself may end`
  )
}

/** For verbs whose work is nothing but what they print: ends the program when nobody reads it any more. */
export const endWithReader = (): void =>
  void stdout().once("error", () => {
    leaving ??= 0
    interrupt()
  })

/** Runs the program: it ends with the code that `codeOf` makes of its end, when everything is written, also if something still lives. */
export const runToEnd = <A>(
  program: Effect.Effect<A, unknown>,
  codeOf: (exit: Exit.Exit<A, unknown>) => number
): void => {
  process.exit = refuse
  hooks.reallyExit = code => (leaving === undefined ? refuse(code) : reallyExit(leaving))
  const fiber = Effect.runFork(program)
  interrupt = () => void Effect.runFork(Fiber.interrupt(fiber))
  const stop = (error: Error) => {
    if (loose !== undefined) return
    loose = error
    interrupt()
  }
  process.on("uncaughtException", error => stop(uncaught(error)))
  process.on("beforeExit", () => {
    if (loose !== undefined) leave(1)
    stop(unsettled())
  })
  fiber.addObserver(ended => {
    const code = codeOf(ended)
    void Promise.all([...new Set([stdout(), process.stdout, process.stderr])].map(written)).then(() => leave(code))
  })
}

/** When what was printed so far is out, or cannot get out. */
const written = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise(resolve => {
    if (stream.destroyed || stream.writableLength === 0) return resolve()
    stream.once("close", resolve)
    write.call(stream, "", "utf8", () => resolve())
  })

const unsettled = (): Error => {
  const [name] = awaited.names()
  return new Loose(
    `${name ?? "the program"} never ended: nothing is left that could bring it on`,
    "a promise, or an Effect, that never settles was waited for"
  )
}

/** An error of the user's own code in plain words; ours keep their stack. */
const uncaught = (error: unknown): Error => {
  const places = error instanceof Error ? frames(error) : []
  if (isAlone || (places.length > 0 && places.every(place => place.startsWith(root))))
    return error instanceof Error ? error : new Error(String(error))
  const place = places.find(place => !place.startsWith(root))
  const message = !(error instanceof Error)
    ? String(error)
    : "code" in error && error.code === "ERR_UNHANDLED_REJECTION"
      ? `a promise was rejected${/ with the reason ".*"/s.exec(error.message)?.[0] ?? ""}`
      : `${error.name}: ${error.message}`
  return new Loose(
    `${place === undefined ? "" : `${place}: `}${message}`,
    "nothing caught this error of the pipeline's own code; what was under way was stopped"
  )
}
