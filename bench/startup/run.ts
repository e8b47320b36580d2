/**
 * Start-up: what it costs to answer where there is little to do, in wall time and processor time, as ratios to a bare Node in the same run.
 *
 *     node bench/startup/run.ts [--repeats 15] [--older /path/to/node20] [--npx]
 *
 * `--older` adds the launcher in a Node that cannot run the program itself, `--npx` the way through npm (with a bin that does nothing
 * beside it, which shows npm's own share). Prints a table and writes bench/results/startup.json.
 */
import { spawnSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const root = fileURLToPath(new URL("../..", import.meta.url))
const launcher = join(root, "bin", "pipeline.mjs")
const { values } = parseArgs({
  options: { repeats: { type: "string", default: "15" }, older: { type: "string" }, npx: { type: "boolean" } }
})

const directory = mkdtempSync(join(tmpdir(), "startup-"))
const cache = join(directory, "cache")
const file = join(root, "bench", "actions", "pipeline.ts")

const ours = (node: string) =>
  [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["completions", "bash"],
    ["list"],
    ["runs"],
    ["status"],
    ["show", "last"],
    ["lineage", "actions/say/s0"],
    ["query", "SELECT count(*) FROM run"],
    ["why", "actions/say/s0"]
  ].map(words => ({ name: `pipeline ${words.join(" ")}`, command: [node, launcher, ...words] }))

/** A bin that does nothing, beside ours, for npx. */
const trivial = (): void => {
  const bin = join(directory, "node_modules", ".bin")
  mkdirSync(bin, { recursive: true })
  symlinkSync(launcher, join(bin, "pipeline"))
  writeFileSync(join(bin, "nothing"), "#!/usr/bin/env node\n")
  chmodSync(join(bin, "nothing"), 0o755)
  symlinkSync(join(root, "node_modules", ".bin", "node"), join(bin, "node"))
}

const contenders = [
  { name: "bare Node", command: [process.execPath, "-e", "0"] },
  ...ours(process.execPath),
  ...(values.older === undefined
    ? []
    : [
        { name: "older bare Node", command: [values.older, "-e", "0"] },
        { name: "pipeline --help, launched by the older Node", command: [values.older, launcher, "--help"] },
        { name: "pipeline runs, launched by the older Node", command: [values.older, launcher, "runs"] }
      ]),
  ...(values.npx === true
    ? [
        { name: "npx nothing", command: ["npx", "--no-install", "nothing"] },
        { name: "npx pipeline --help", command: ["npx", "--no-install", "pipeline", "--help"] },
        { name: "npx pipeline runs", command: ["npx", "--no-install", "pipeline", "runs"] }
      ]
    : [])
]

try {
  trivial()
  const env = { ...process.env, PIPELINE_CACHE: cache, ACTIONS_COUNT: "3" }
  // npx with the older Node, as on a host that has no other.
  const path = values.older === undefined ? process.env["PATH"] : `${dirname(values.older)}:${process.env["PATH"]}`
  const call = (words: ReadonlyArray<string>) => {
    const script = 'TIMEFORMAT="%R %U %S"; time "$@" > /dev/null 2>&1'
    const timed = spawnSync("bash", ["-c", script, "bash", ...words], {
      cwd: directory,
      encoding: "utf8",
      env: { ...env, PATH: path ?? "" }
    })
    const [wall, user, system] = timed.stderr.trim().split(" ").map(Number)
    return { status: timed.status, wallMs: 1000 * wall!, cpuMs: 1000 * (user! + system!) }
  }
  call([process.execPath, launcher, "run", file])
  const times = contenders.map(() => [] as Array<{ readonly wallMs: number; readonly cpuMs: number }>)
  for (let round = 0; round <= Number(values.repeats); round++)
    for (const [i, { command, name }] of contenders.entries()) {
      const { status, ...time } = call(command)
      if (status !== 0) throw new Error(`${name} failed with ${status}`)
      // The first round fills the caches.
      if (round > 0) times[i]!.push(time)
    }
  const median = (list: ReadonlyArray<number>) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!
  const results = contenders.map(({ name }, i) => ({
    name,
    wallMs: median(times[i]!.map(({ wallMs }) => wallMs)),
    cpuMs: median(times[i]!.map(({ cpuMs }) => cpuMs))
  }))
  const bare = results[0]!
  console.log("| command | wall | processor time | to a bare Node |\n| --- | ---: | ---: | ---: |")
  for (const { cpuMs, name, wallMs } of results)
    console.log(
      `| \`${name}\` | ${wallMs.toFixed(0)} ms | ${cpuMs.toFixed(0)} ms | ${(wallMs / bare.wallMs).toFixed(1)} x, ${(cpuMs / bare.cpuMs).toFixed(1)} x |`
    )
  const npm = results.find(({ name }) => name === "npx nothing")
  const ours = results.find(({ name }) => name === "npx pipeline --help")
  if (npm !== undefined && ours !== undefined)
    console.log(
      `\nnpm's own share of \`npx pipeline --help\`: ${npm.wallMs.toFixed(0)} of ${ours.wallMs.toFixed(0)} ms of wall, ${npm.cpuMs.toFixed(0)} of ${ours.cpuMs.toFixed(0)} ms of a processor`
    )
  const machine = `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} processors, Node ${process.version}`
  writeFileSync(
    join(root, "bench", "results", "startup.json"),
    `${JSON.stringify({ date: new Date().toISOString(), machine, repeats: Number(values.repeats), results }, null, 2)}\n`
  )
} finally {
  rmSync(directory, { recursive: true, force: true })
}
