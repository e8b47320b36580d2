/**
 * The cost of small actions: trivial ones that are all executed, two at a time, beside `make -j2` that starts a bare Node for each and
 * Snakemake that starts a shell.
 *
 *     node bench/actions/run.ts [--count 2000] [--rounds 1] [--without-snakemake]
 *
 * Snakemake comes from PyPI into bench/noop/.tools; where it cannot be had it is left out, aloud. Prints a table and writes
 * bench/results/actions.json. Processor time is of all processes together; machines are shared, so compare the ratios.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = join(here, "..", "..")
const tools = join(here, "..", "noop", ".tools")
const snakemake = join(tools, "venv", "bin", "snakemake")

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "2000" },
    rounds: { type: "string", default: "1" },
    "without-snakemake": { type: "boolean" }
  }
})
const count = Number(values.count)

interface Contender {
  readonly name: string
  readonly command: ReadonlyArray<string>
  readonly prepare: (directory: string) => void
}

const numbers = Array.from({ length: count }, (_, i) => i)

const contenders: ReadonlyArray<Contender> = [
  {
    name: "pipeline run --jobs 2",
    command: [process.execPath, join(root, "bin", "pipeline.mjs"), "run", join(here, "pipeline.ts"), "--jobs", "2"],
    prepare: () => undefined
  },
  {
    name: "make -j2, node -e 0",
    command: ["make", "-s", "-j2"],
    prepare: directory =>
      writeFileSync(
        join(directory, "Makefile"),
        `all: ${numbers.map(i => `s${i}`).join(" ")}\ns%:\n\t@${process.execPath} -e 0\n`
      )
  },
  {
    name: "snakemake --cores 2, echo",
    command: [snakemake, "--quiet", "all", "--cores", "2", "--scheduler", "greedy"],
    prepare: directory =>
      writeFileSync(
        join(directory, "Snakefile"),
        `rule all:\n    input: expand('o/{i}.txt', i=range(${count}))\nrule say:\n    output: 'o/{i}.txt'\n    shell: 'echo {wildcards.i} > {output}'\n`
      )
  }
]

/** Makes Snakemake available; tells whether it is. */
const hasSnakemake = (): boolean => {
  const quiet = (command: string, ...words: ReadonlyArray<string>) =>
    spawnSync(command, [...words], { stdio: "ignore", timeout: 900_000 }).status === 0
  if (existsSync(snakemake)) return true
  mkdirSync(tools, { recursive: true })
  const venv = join(tools, "venv")
  return (
    (existsSync(venv) || quiet("python3", "-m", "venv", venv)) &&
    quiet(join(venv, "bin", "pip"), "install", "--quiet", "snakemake") &&
    existsSync(snakemake)
  )
}

/** Seconds of wall and of processors. */
const measure = ({ command, name, prepare }: Contender): { readonly wallS: number; readonly cpuS: number } => {
  const directory = mkdtempSync(join(tmpdir(), "actions-"))
  try {
    prepare(directory)
    const timed = spawnSync("bash", ["-c", 'TIMEFORMAT="%R %U %S"; time "$@" > out 2>&1', "bash", ...command], {
      cwd: directory,
      encoding: "utf8",
      env: { ...process.env, ACTIONS_COUNT: String(count), PIPELINE_CACHE: join(directory, "cache") }
    })
    if (timed.status !== 0) throw new Error(`${name} failed`)
    const [wallS, user, system] = timed.stderr.trim().split("\n").at(-1)!.split(" ").map(Number)
    return { wallS: wallS!, cpuS: user! + system! }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const there = contenders.filter(({ command, name }) => {
  if (command[0] === snakemake && values["without-snakemake"] === true) return false
  const can = command[0] !== snakemake || hasSnakemake()
  if (!can) console.error(`${name}: cannot be installed here; left out`)
  return can
})
const rounds = Array.from({ length: Number(values.rounds) }, () => there.map(measure))
const median = (list: ReadonlyArray<number>) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!
const results = there.map(({ name }, i) => ({
  name,
  wallMs: (1000 * median(rounds.map(round => round[i]!.wallS))) / count,
  cpuMs: (1000 * median(rounds.map(round => round[i]!.cpuS))) / count
}))
const make = results.find(({ name }) => name.startsWith("make"))!
console.log("| contender | wall per action | processor time | to make |\n| --- | ---: | ---: | ---: |")
for (const { cpuMs, name, wallMs } of results)
  console.log(
    `| ${name} | ${wallMs.toFixed(1)} ms | ${cpuMs.toFixed(1)} ms | ${(wallMs / make.wallMs).toFixed(2)} x, ${(cpuMs / make.cpuMs).toFixed(2)} x |`
  )
writeFileSync(
  join(root, "bench", "results", "actions.json"),
  `${JSON.stringify(
    {
      date: new Date().toISOString(),
      machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} processors, Node ${process.version}`,
      count,
      results
    },
    null,
    2
  )}\n`
)
