/**
 * The no-op comparison: how long each tool takes to find that nothing has to be done.
 *
 *     node bench/noop/run.ts [--tools pipeline,make,ninja,snakemake,dvc,turbo] [--sizes 1000,10000,100000] [--repeats 5]
 *
 * Installs what it compares with into bench/noop/.tools (PyPI and npm); a tool that cannot be had is left out, aloud.
 * Prints a table and writes bench/results/noop.json. Wall time is the best and the median of the repeats, since machines
 * are shared; ratios are to ninja in the same run.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { type OtherTool, type Shape, writeProject } from "./projects.ts"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = join(here, "..", "..")
const tools = join(here, ".tools")
const python = join(tools, "venv", "bin")

const { values } = parseArgs({
  options: {
    tools: { type: "string", default: "pipeline,make,ninja,turbo,snakemake,dvc" },
    sizes: { type: "string", default: "1000,10000,100000" },
    repeats: { type: "string", default: "5" }
  }
})
const repeats = Number(values.repeats)

/** The largest project that a tool is given: beyond, its first run alone takes longer than the whole comparison. */
const largest: Record<string, Record<Shape, number>> = {
  pipeline: { fan: 100_000, chain: 100_000 },
  make: { fan: 100_000, chain: 10_000 },
  ninja: { fan: 100_000, chain: 10_000 },
  // Its chains are walked wrongly from about 1,000 on: nothing to compare.
  snakemake: { fan: 10_000, chain: 300 },
  dvc: { fan: 1_000, chain: 100 },
  turbo: { fan: 1_000, chain: 100 }
}

const quiet = (command: string, args: ReadonlyArray<string>, cwd = root): boolean =>
  spawnSync(command, [...args], { cwd, stdio: "ignore", timeout: 900_000 }).status === 0

/** Makes a tool available; returns whether it is. */
const install = (tool: string): boolean => {
  mkdirSync(tools, { recursive: true })
  switch (tool) {
    case "pipeline":
      return quiet(process.execPath, [join(root, "bin", "pipeline.mjs"), "--version"])
    case "make":
      return quiet("make", ["--version"])
    case "turbo":
      return (
        existsSync(join(tools, "node_modules", ".bin", "turbo")) ||
        quiet("npm", ["install", "--no-save", "--prefix", tools, "turbo@2.11.11"])
      )
    default: {
      if (existsSync(join(python, tool))) return true
      if (!existsSync(python) && !quiet("python3", ["-m", "venv", join(tools, "venv")])) return false
      return quiet(join(python, "pip"), ["install", "--quiet", tool]) && existsSync(join(python, tool))
    }
  }
}

interface Command {
  readonly command: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv
}

/** The command whose no-op is measured. */
const commandOf = (tool: string, shape: Shape, count: number): Command => {
  switch (tool) {
    case "pipeline":
      return {
        command: [
          process.execPath,
          join(root, "bin", "pipeline.mjs"),
          "run",
          join(here, "pipeline.ts"),
          "--cache",
          "cache"
        ],
        env: { NOOP_SHAPE: shape, NOOP_COUNT: String(count) }
      }
    case "make":
      return { command: ["make", "-s", "-j2", "all"] }
    case "ninja":
      return { command: [join(python, "ninja")] }
    case "snakemake":
      return { command: [join(python, "snakemake"), "--quiet", "all", "--cores", "2", "--scheduler", "greedy"] }
    case "dvc":
      return { command: [join(python, "dvc"), "repro", "--quiet"], env: { DVC_NO_ANALYTICS: "1" } }
    default:
      return {
        command: [
          join(tools, "node_modules", ".bin", "turbo"),
          "run",
          shape === "chain" ? `s${count - 1}` : "all",
          "--output-logs=none",
          "--no-daemon"
        ],
        env: { TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1" }
      }
  }
}

/** Brings a project to the state in which nothing is to be done. */
const makeCurrent = (tool: string, directory: string, { command, env }: Command, count: number): boolean => {
  const run = (words: ReadonlyArray<string>, extra: NodeJS.ProcessEnv = {}) =>
    spawnSync(words[0]!, words.slice(1), {
      cwd: directory,
      stdio: "ignore",
      env: { ...process.env, ...env, ...extra },
      timeout: 900_000
    }).status === 0
  const outputs = () => {
    for (let i = 0; i < count; i++) writeFileSync(join(directory, "o", `${i}.txt`), "hello\n")
  }
  switch (tool) {
    case "pipeline":
      // Results are recorded as a run would record them; see seed.ts.
      return run([process.execPath, join(here, "seed.ts"), "cache"])
    case "snakemake":
      outputs()
      return run([...command, "--touch"])
    case "dvc":
      // `dvc commit` records existing outputs, as `dvc repro` would after producing them.
      outputs()
      return (
        run(["git", "init", "-q"]) &&
        run([join(python, "dvc"), "init", "-q"]) &&
        run([join(python, "dvc"), "commit", "-q", "--force"])
      )
    case "turbo":
      return (
        run(["sh", "-c", "git init -q . && git add -A && git -c user.email=a@b -c user.name=a commit -qm x"]) &&
        run(command)
      )
    default:
      return run(command)
  }
}

interface Measurement {
  readonly tool: string
  readonly shape: Shape
  readonly count: number
  readonly bestS: number
  readonly medianS: number
  readonly peakMiB: number | undefined
}

const gnuTime = existsSync("/usr/bin/time") ? ["/usr/bin/time", "-f", "%M"] : []

const measure = (tool: string, shape: Shape, count: number): Measurement | undefined => {
  const directory = mkdtempSync(join(tmpdir(), `noop-${tool}-`))
  try {
    writeProject(tool as OtherTool | "pipeline", { directory, shape, count })
    const command = commandOf(tool, shape, count)
    if (!makeCurrent(tool, directory, command, count)) {
      console.error(`${tool}, ${shape} of ${count}: its first run failed; left out`)
      return undefined
    }
    const times: Array<number> = []
    let peak = 0
    // One more run than is counted: the first after the project was made still warms the caches.
    for (let i = 0; i <= repeats; i++) {
      const words = [...gnuTime, ...command.command]
      const start = performance.now()
      const done = spawnSync(words[0]!, words.slice(1), {
        cwd: directory,
        encoding: "utf8",
        env: { ...process.env, ...command.env },
        timeout: 300_000
      })
      const seconds = (performance.now() - start) / 1000
      if (done.status !== 0) {
        console.error(`${tool}, ${shape} of ${count}: its no-op failed: ${done.stderr.slice(-300)}`)
        return undefined
      }
      if (tool === "pipeline" && !done.stderr.includes(" 0 executed"))
        throw new Error(`pipeline executed something:\n${done.stderr}`)
      if (i > 0) times.push(seconds)
      peak = Math.max(peak, Number(/(\d+)\s*$/.exec(done.stderr)?.[1] ?? 0) / 1024)
      if (seconds > 60) break
    }
    if (times.length === 0) return undefined
    times.sort((a, b) => a - b)
    return {
      tool,
      shape,
      count,
      bestS: times[0]!,
      medianS: times[Math.floor(times.length / 2)]!,
      peakMiB: gnuTime.length === 0 ? undefined : Math.round(peak)
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const found = values.tools.split(",").filter(tool => {
  const there = install(tool)
  if (!there) console.error(`${tool} cannot be installed here; left out`)
  return there
})

const results: Array<Measurement> = []
for (const shape of ["fan", "chain"] as const) {
  for (const count of values.sizes.split(",").map(Number)) {
    for (const tool of found) {
      const result = measure(tool, shape, Math.min(count, largest[tool]![shape]))
      if (
        result === undefined ||
        results.some(known => known.tool === tool && known.shape === shape && known.count === result.count)
      )
        continue
      results.push(result)
      console.error(
        `${tool}  ${shape} of ${result.count}  best ${result.bestS.toFixed(3)} s  median ${result.medianS.toFixed(3)} s  ${result.peakMiB ?? "?"} MiB`
      )
    }
  }
}

const versionOf = (tool: string): string => {
  const command = commandOf(tool, "fan", 1).command
  const words = tool === "pipeline" ? [...command.slice(0, 2), "--version"] : [command[0]!, "--version"]
  return execFileSync(words[0]!, words.slice(1), { encoding: "utf8" }).split("\n")[0]!.trim()
}
const versions = Object.fromEntries(found.map(tool => [tool, versionOf(tool)]))
const machine = `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} processors, Node ${process.version}`

const goal: Record<number, string> = { 1000: "0.15 s", 10_000: "0.25 s, 120 MiB", 100_000: "2 s" }
console.log(
  `| tool | shape | stages | best | median | peak memory | to ninja | goal |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |`
)
for (const { bestS, count, medianS, peakMiB, shape, tool } of results) {
  const ninja = results.find(other => other.tool === "ninja" && other.shape === shape && other.count === count)
  const ratio = ninja === undefined ? "" : `${(bestS / ninja.bestS).toFixed(1)} x`
  console.log(
    `| ${tool} | ${shape} | ${count} | ${bestS.toFixed(3)} s | ${medianS.toFixed(3)} s | ${peakMiB ?? "?"} MiB | ${ratio} | ${tool === "pipeline" ? (goal[count] ?? "") : ""} |`
  )
}
mkdirSync(join(root, "bench", "results"), { recursive: true })
writeFileSync(
  join(root, "bench", "results", "noop.json"),
  `${JSON.stringify({ date: new Date().toISOString(), machine, versions, repeats, results }, null, 2)}\n`
)
