/** A process that outlives the runner for a moment: when the runner is gone without a word, it ends what that had started. */
import { killAll, killOnce } from "./descendants.ts"

/** The beginning of the runner's marks. */
const prefix = process.argv[2]!
/** Processes of actions that live. */
const leaders = new Set<number>()

let rest = ""
process.stdin.setEncoding("latin1").on("data", (text: string) => {
  const lines = (rest + text).split("\n")
  rest = lines.pop()!
  for (const line of lines) {
    const pid = Number(line.slice(1))
    if (line.startsWith("+")) leaders.add(pid)
    else leaders.delete(pid)
  }
})
process.stdin.on("close", () => {
  const wanted = { marked: (mark: string) => mark.startsWith(prefix), leaders }
  if (process.platform !== "linux") killOnce(wanted)
  void killAll(wanted).then(() => process.exit(0))
})
// Ctrl-C and hang-ups are for the runner, which decides.
for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined)
