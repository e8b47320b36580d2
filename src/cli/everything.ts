/** The whole program. */
import { start } from "./program.ts"
import { commandFor } from "./verbs.ts"

start(commandFor)
