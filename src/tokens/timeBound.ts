/**
 * Ends a computation of this thread that takes too long. Patterns in files of others may backtrack for ever, and a regular expression yields to nothing:
 * V8 stops it only where a script is run with a time limit, which `node:vm` does.
 */
import { Script } from "node:vm"

const slot = Symbol.for("dllm-pipeline.timeBound")
const script = new Script(`globalThis[Symbol.for("dllm-pipeline.timeBound")]()`)

export class TooLong extends Error {}

/** What `compute` returns; throws `TooLong` when it takes more than so many milliseconds. Costs about 0.2 ms. */
export const within = <A>(milliseconds: number, compute: () => A): A => {
  const global = globalThis as { [slot]?: () => A }
  global[slot] = compute
  try {
    return script.runInThisContext({ timeout: Math.max(1, Math.ceil(milliseconds)) }) as A
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined
    throw code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? new TooLong() : cause
  } finally {
    delete global[slot]
  }
}

/** Milliseconds for a character, ten times what the slowest tokenizer takes, and for beginning. */
const perCharacter = 0.25
const toBegin = 5000

/** A bound for many computations on texts together: whatever their number, their time is in proportion to their length. */
export const makeAllowance = (begin = toBegin): (<A>(characters: number, compute: () => A) => A) => {
  let left = begin
  return (characters, compute) => {
    left = Math.min(left + characters * perCharacter, begin + characters * perCharacter)
    const started = performance.now()
    try {
      return within(left, compute)
    } finally {
      left -= performance.now() - started
    }
  }
}
