/** `pipeline doctor`: what would work on this machine, and what to do about the rest. */
import { plural } from "../../pipeline/units.ts"
import { Effect } from "effect"
import { verb } from "../verb.ts"
import { cache, embedded } from "./checks/cache.ts"
import type { Check, Finding } from "./checks/Check.ts"
import { disk } from "./checks/disk.ts"
import { hub } from "./checks/hub.ts"
import { engines } from "./checks/engines.ts"
import { gpus, machine, program } from "./checks/machine.ts"
import { permissions } from "./checks/permissions.ts"
import { tools } from "./checks/tools.ts"
import { Exit, exitCodes } from "../failure.ts"
import * as flags from "../flags.ts"
import { type Style, styleOf, table } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"
import { asTyped } from "../typed.ts"

/** In the order in which they are printed. */
const checks: ReadonlyArray<Check> = [program, machine, gpus, engines, disk, cache, permissions, embedded, hub, tools]

export const command = verb("doctor", {
  about: "Check the machine, the disk, the cache and the network: what would work here",
  examples: {
    "pipeline doctor": "Everything; fails only when the main job cannot run",
    "pipeline doctor --cache /scratch/cache": "Whether a place suits for the cache"
  },
  takes: { cache: flags.cache, python: flags.python, json: flags.json },
  run: Effect.fn("doctor")(function* (args) {
    flags.usePython(args.python)
    const context = { location: flags.locationOf(args.cache), environment: process.env }
    const findings = (yield* Effect.forEach(checks, check => check.run(context), { concurrency: "unbounded" })).flat()
    const problems = findings.filter(({ severity }) => severity === "problem").length
    const warnings = findings.filter(({ severity }) => severity === "warning").length
    if (args.json) printJson({ findings, problems, warnings })
    else print(...render(findings, problems, warnings, styleOf(stdout())))
    if (problems > 0) return yield* Effect.fail(new Exit(exitCodes.failed))
  })
})

const render = (findings: ReadonlyArray<Finding>, problems: number, warnings: number, style: Style) => {
  const signs = { ok: style.green("ok"), warning: style.yellow("warning"), problem: style.red("problem") }
  const rows = findings.flatMap(({ advice, name, severity, text }) => [
    [signs[severity], name, text],
    ...(advice === undefined ? [] : [["", "", style.dim(`→ ${asTyped(advice)}`)]])
  ])
  const sum =
    problems > 0
      ? `${plural(problems, "problem")}: the main job cannot run here yet`
      : warnings > 0
        ? `the main job can run here; ${plural(warnings, "warning")}`
        : "everything is in order"
  return [table(rows), sum]
}
