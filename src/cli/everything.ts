/** The whole program. */
import { setFlagsFromString } from "node:v8"
import { start } from "./program.ts"
import { commandFor } from "./verbs.ts"

// The program holds much for its whole life and little for a moment: a young generation that never grows costs it no
// time and saves about a sixth of its memory on large plans (bench/noop).
setFlagsFromString("--semi-space-growth-factor=1")
start(commandFor)
