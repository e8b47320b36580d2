/** A check of `doctor`: looks at one side of the machine and says what it found. New parts of the program add theirs to the list. */
import type { Effect } from "effect"
import type { CacheLocation } from "../../../runner/Cache.ts"

/** `problem`: the main job cannot run. `warning`: something is worse than it could be. */
export type Severity = "ok" | "warning" | "problem"

export interface Finding {
  readonly severity: Severity
  /** What was looked at, in a word or two. */
  readonly name: string
  readonly text: string
  /** What to do about it. */
  readonly advice?: string
}

export interface CheckContext {
  readonly location: CacheLocation
  readonly environment: Readonly<Record<string, string | undefined>>
}

export interface Check {
  readonly name: string
  /** Never fails: what cannot be found out is a finding, too. Takes a few seconds at most. */
  readonly run: (context: CheckContext) => Effect.Effect<ReadonlyArray<Finding>>
}

export const ok = (name: string, text: string): Finding => ({ severity: "ok", name, text })
export const warning = (name: string, text: string, advice: string): Finding => ({
  severity: "warning",
  name,
  text,
  advice
})
export const problem = (name: string, text: string, advice: string): Finding => ({
  severity: "problem",
  name,
  text,
  advice
})
