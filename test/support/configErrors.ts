/** Catches the ConfigError of a call, for tests of messages. */
import { assert } from "vitest"
import { ConfigError, render } from "../../src/pipeline/ConfigError.ts"

/** The ConfigError that `call` throws; the test fails when it returns, or throws anything else. */
export const configError = (call: () => unknown): ConfigError => {
  try {
    call()
  } catch (cause) {
    assert.instanceOf(cause, ConfigError)
    return cause
  }
  return assert.fail("nothing was thrown")
}

/** The error as it appears in the terminal. */
export const rendered = (call: () => unknown): string => render(configError(call))

/** Lines joined, for expected messages. */
export const lines = (...text: ReadonlyArray<string>): string => text.join("\n")
