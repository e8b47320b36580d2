/** kill -9 of a training, at moments that nobody chose: what it ends in does not change by a bit. */
import { spawn } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, expect, it } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"
import { steps } from "../support/trainingVictim.ts"

const program = fileURLToPath(new URL("../support/trainingVictim.ts", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

/** Runs the training; kills it a moment after it has printed `killAfter` steps. Returns the lines it printed. */
const run = (kind: string, folder: string, killAfter = Infinity, moment = 0) =>
  new Promise<{ readonly lines: ReadonlyArray<string>; readonly signal: string | null; readonly errors: string }>(
    resolve => {
      const child = spawn(process.execPath, [program, join(directory.path, folder), kind], {
        env: { ...process.env, NODE_OPTIONS: "" },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let output = ""
      let errors = ""
      const lines = () => output.split("\n").filter(line => line !== "")
      child.stdout.on("data", data => {
        output += String(data)
        if (lines().length >= killAfter) setTimeout(() => child.kill("SIGKILL"), moment)
      })
      child.stderr.on("data", data => (errors += String(data)))
      child.on("close", (_code, signal) => resolve({ lines: lines(), signal, errors }))
    }
  )

/** What each kind of training logs of every step, beside its loss. */
const logged: { readonly [kind: string]: ReadonlyArray<string> } = {
  causal: [],
  aligned: ["losses/replay", "losses/trajectory_entropy", "trajectory/fallback_frac", "repr_align/loss_share"]
}

it.each(["causal", "aligned"])(
  "a training (%s) that is killed again and again ends in the same bits",
  { timeout: 120_000 },
  async kind => {
    const whole = await run(kind, "whole")
    expect(whole.lines, whole.errors).toHaveLength(steps + 1)
    const begun: Array<string> = []
    for (const [killAfter, moment] of [
      [10, 0],
      [15, 1],
      [10, 3]
    ] as const) {
      const { lines, signal } = await run(kind, "cut", killAfter, moment)
      expect(signal).toBe("SIGKILL")
      begun.push(lines[0]!)
    }
    // Each went on where the one before it had been killed.
    expect(begun[0]).toBe("step 1")
    for (const line of begun.slice(1)) expect(Number(line.split(" ")[1])).toBeGreaterThan(1)
    const last = await run(kind, "cut")
    expect(last.lines.at(-1)).toBe(whole.lines.at(-1))
    expect(last.lines.length).toBeLessThan(steps)
    const lines = (folder: string) =>
      readFileSync(join(directory.path, folder, "metrics.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map(line => JSON.parse(line) as { readonly [name: string]: number })
    for (const name of ["training/loss", ...logged[kind]!]) {
      const series = (folder: string) => lines(folder).map(line => line[name])
      expect(series("cut")).toEqual(series("whole"))
      expect(series("whole").some(value => value !== undefined && value !== 0)).toBe(true)
    }
    expect(readdirSync(join(directory.path, "cut")).filter(name => name.startsWith("step-")).length).toBe(2)
  }
)
