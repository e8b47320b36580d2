/**
 * Runs the interoperability tests: our files and algorithms against the implementations that people use in Python.
 *
 *     npm run test:interop [-- --require]
 *
 * Makes a virtual environment in `.venv/` from `requirements.txt`, then runs every `*.py` in this directory (exit code 0 = passed) and
 * every `*.interop.ts` with vitest. Where Python or the package index cannot be had, it says so and succeeds; with `--require`, it fails. The same
 * holds for the software GPU of the tests of WebGPU, which is kept in `.vulkan/`.
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { interpreterVariable } from "./python.ts"
import { softwareVulkan } from "./vulkan.ts"

const here = import.meta.dirname
const root = join(here, "../..")
const environment = join(root, ".venv")
const interpreter =
  process.platform === "win32" ? join(environment, "Scripts/python.exe") : join(environment, "bin/python")
const requirements = join(here, "requirements.txt")

/** Why the tests cannot run, or `undefined` when they can. */
const prepare = (): string | undefined => {
  const version = spawnSync("python3", ["--version"], { encoding: "utf8" })
  if (version.status !== 0) return "python3 is not installed"
  const marker = join(environment, "interop.sha256")
  const wanted = createHash("sha256").update(version.stdout).update(readFileSync(requirements)).digest("hex")
  if (existsSync(marker) && readFileSync(marker, "utf8") === wanted) return undefined

  console.log(`making ${environment} from ${requirements}`)
  mkdirSync(environment, { recursive: true })
  const made = spawnSync("python3", ["-m", "venv", "--clear", environment], { encoding: "utf8" })
  if (made.status !== 0) return `python3 -m venv failed: ${lastLine(made.stderr + made.stdout)}`
  const pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--retries", "1", "--requirement", requirements]
  const installed = spawnSync(interpreter, pip, { encoding: "utf8" })
  if (installed.status !== 0) return `the Python packages cannot be installed: ${lastLine(installed.stderr)}`
  writeFileSync(marker, wanted)
  return undefined
}

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? ""

interface Count {
  readonly passed: number
  readonly failed: number
}

const runPrograms = (): Count => {
  let passed = 0
  let failed = 0
  for (const program of readdirSync(here)
    .filter(name => name.endsWith(".py"))
    .sort()) {
    const { status } = spawnSync(interpreter, [join(here, program)], { cwd: root, stdio: "inherit" })
    console.log(`${status === 0 ? "passed" : "FAILED"} ${program}`)
    if (status === 0) passed += 1
    else failed += 1
  }
  return { passed, failed }
}

/** The part of vitest's JSON report that we read. */
interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numFailedTestSuites: number
}

const runVitest = (more: NodeJS.ProcessEnv): Count => {
  const directory = mkdtempSync(join(tmpdir(), "interop-"))
  try {
    const report = join(directory, "report.json")
    const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs")
    const flags = ["run", "--config", join(here, "vitest.config.ts"), "--reporter=default", "--reporter=json"]
    spawnSync(process.execPath, [vitest, ...flags, `--outputFile.json=${report}`], {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, ...more, [interpreterVariable]: interpreter }
    })
    if (!existsSync(report)) return { passed: 0, failed: 1 }
    const { numFailedTestSuites, numFailedTests, numPassedTests } = JSON.parse(readFileSync(report, "utf8")) as Report
    // A file that cannot even be loaded has no failed tests.
    return { passed: numPassedTests, failed: Math.max(numFailedTests, numFailedTestSuites > 0 ? 1 : 0) }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const obstacle = prepare()
const required = process.argv.includes("--require")
if (obstacle === undefined) {
  const vulkan = softwareVulkan(join(root, ".vulkan"))
  const missing = typeof vulkan === "string"
  const programs = runPrograms()
  const tests = runVitest(missing ? {} : vulkan)
  if (missing) console.log(`SKIPPED: the tests of WebGPU did not run, because ${vulkan}`)
  const failed = programs.failed + tests.failed + (missing && required ? 1 : 0)
  console.log(`${programs.passed + tests.passed} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
} else {
  console.log(`SKIPPED: the interoperability tests did not run, because ${obstacle}`)
  console.log(`0 passed, ${required ? 1 : 0} failed`)
  if (required) process.exitCode = 1
}
