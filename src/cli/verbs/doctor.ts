/** `pipeline doctor`: what would work on this machine, and what to do about the rest. */
import { Effect } from "effect"
import { Command } from "effect/cli"
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
import { stdout } from "../terminal/terminal.ts"

/** In the order in which they are printed. */
const checks: ReadonlyArray<Check> = [program, machine, gpus, engines, disk, cache, permissions, embedded, hub, tools]

export const command = Command.make(
  "doctor",
  { cache: flags.cache, python: flags.python, json: flags.json },
  Effect.fn("doctor")(function* (args) {
    flags.usePython(args.python)
    const context = { location: flags.locationOf(args.cache), environment: process.env }
    const findings = (yield* Effect.forEach(checks, check => check.run(context), { concurrency: "unbounded" })).flat()
    const problems = findings.filter(({ severity }) => severity === "problem").length
    const warnings = findings.filter(({ severity }) => severity === "warning").length
    stdout().write(
      args.json
        ? `${JSON.stringify({ findings, problems, warnings }, null, 2)}\n`
        : render(findings, problems, warnings, styleOf(stdout()))
    )
    if (problems > 0) return yield* Effect.fail(new Exit(exitCodes.failed))
  })
).pipe(
  Command.withDescription("Check the machine, the disk, the cache and the network: what would work here"),
  Command.withExamples([
    { command: "pipeline doctor", description: "Everything; fails only when the main job cannot run" },
    { command: "pipeline doctor --cache /scratch/cache", description: "Whether a place suits for the cache" }
  ])
)

const render = (findings: ReadonlyArray<Finding>, problems: number, warnings: number, style: Style): string => {
  const signs = { ok: style.green("ok"), warning: style.yellow("warning"), problem: style.red("problem") }
  const rows = findings.flatMap(({ advice, name, severity, text }) => [
    [signs[severity], name, text],
    ...(advice === undefined ? [] : [["", "", style.dim(`→ ${advice}`)]])
  ])
  const sum =
    problems > 0
      ? `${problems} problem${problems === 1 ? "" : "s"}: the main job cannot run here yet`
      : warnings > 0
        ? `the main job can run here; ${warnings} warning${warnings === 1 ? "" : "s"}`
        : "everything is in order"
  return `${table(rows)}\n${sum}\n`
}
