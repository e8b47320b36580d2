#!/bin/sh
":" //; while read -r PIPELINE_HANGUP && [ "${PIPELINE_HANGUP#SigIgn:}" = "$PIPELINE_HANGUP" ]; do :; done 2>/dev/null </proc/$$/status
":" //; case $PIPELINE_HANGUP in *[13579bdf]) export PIPELINE_HANGUP=$$ ;; *) unset PIPELINE_HANGUP ;; esac
":" //; exec node "$0" "$@"
// Above, for the shell: whether hang-ups are ignored, which Node forgets when it starts (src/cli/hangup.ts). Node reads words and comments there.
//
// The launcher: plain JavaScript for any Node >= 16. Finds a Node that can run the program (its own, or the one that npm
// installed with it), rebuilds `dist/` when a source changed, and starts the program.
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"

// Taken when needed: an import evaluates all that a module offers, some milliseconds of each start.
const require = createRequire(import.meta.url)
const { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } = require("node:fs")
const { dirname, join } = require("node:path")

// ONNX Runtime looks here before it sends anything (docs/decisions/020-telemetry.md). Its engine sees to this, too; this is for all that a user's stages load.
process.env.ORT_DISABLE_TELEMETRY = "1"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const entry = join(root, "dist", "main.js")
const [major, minor] = process.versions.node.split(".").map(Number)
const suits = major > 22 || (major === 22 && minor >= 19)

/** The Node that npm installed beside us. */
const bundledNode = () => {
  const platform = process.platform === "win32" ? "win" : process.platform
  try {
    const manifest = require.resolve(`node-${platform}-${process.arch}/package.json`)
    return join(dirname(manifest), "bin", process.platform === "win32" ? "node.exe" : "node")
  } catch {
    return undefined
  }
}

/** In a checkout: whether a source is not the one that `dist/` was built from. An installed package has no sources to compare. */
const isStale = () => {
  if (!existsSync(join(root, "scripts", "build.ts"))) return false
  const list = join(root, "dist", "sources.json")
  let sources
  try {
    sources = JSON.parse(readFileSync(list, "utf8"))
  } catch {
    return true
  }
  // A stat tells cheaply that a file is the same; where it is another one (a fresh copy, another branch and back), the content decides.
  const moved = []
  for (const source of sources) {
    const [path, stat, content] = source
    const file = `${root}/${path}`
    if (stat === "directory") {
      if (namesIn(file) !== content) return true
    } else if (statOf(file) !== stat) moved.push(source)
  }
  if (moved.length === 0) return false
  if (!moved.every(([path, , content]) => digestOf(join(root, path)) === content)) return true
  noteStats(list, sources, moved)
  return false
}

const namesIn = directory => (existsSync(directory) ? readdirSync(directory).sort().join("\n") : "")

/** As src/runner/code/Sources.ts writes it. */
const statOf = file => {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false })
  return stat && `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
}

const digestOf = file => {
  try {
    return require("node:crypto").createHash("sha256").update(readFileSync(file)).digest("hex")
  } catch {
    return undefined
  }
}

/** Spares the next start the reading. What changed within the last seconds may change again without another time. */
const noteStats = (list, sources, moved) => {
  const before = new Map(moved.map(source => [source, statOf(join(root, source[0]))]))
  const settled = Number(BigInt(Date.now() - 2500) * 1_000_000n)
  try {
    const noted = sources.map(source => {
      const stat = before.get(source)
      if (stat === undefined || Number(stat.slice(stat.lastIndexOf(":") + 1)) > settled) return source
      return digestOf(join(root, source[0])) === source[2] ? [source[0], stat, source[2]] : source
    })
    if (noted.every((source, i) => source === sources[i])) return
    writeFileSync(`${list}.${process.pid}`, JSON.stringify(noted))
    renameSync(`${list}.${process.pid}`, list)
  } catch {
    // A checkout that cannot be written is compared by its content each time.
  }
}

const node = suits ? process.execPath : bundledNode()
if (node === undefined) {
  console.error(
    `pipeline needs Node 22.19 or newer; this is ${process.version}, and no bundled Node is installed for ${process.platform}-${process.arch}.\nrun: npx -p node@24 -- pipeline ${process.argv.slice(2).join(" ")}`
  )
  process.exit(2)
}

// A launcher in an older Node has looked already.
if (process.env["PIPELINE_LAUNCHER"] === undefined && isStale()) {
  const built = require("node:child_process").spawnSync(node, [join(root, "scripts", "build.ts")], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PIPELINE_BUILD_QUIET: "1" }
  })
  // The program of other sources would do other work than what is written here.
  if (built.status !== 0) {
    console.error("the program could not be built from its sources; run `npm ci`, then `npm run build`")
    process.exit(1)
  }
}

/** What the build prepared is printed by any Node that can read the module for it. */
const page = async () => {
  const pages = join(root, "dist", "pages.js")
  if (suits || process.getBuiltinModule === undefined || !existsSync(pages)) return undefined
  const { pageFor } = await import(require("node:url").pathToFileURL(pages).href)
  return pageFor(process.argv.slice(2))
}
const prepared = await page()

if (prepared !== undefined) {
  process.stdout.on("error", () => undefined)
  process.stdout.write(prepared)
} else if (suits) {
  const { enableCompileCache } = require("node:module")
  if (enableCompileCache !== undefined) enableCompileCache(join(root, "node_modules", ".cache", "pipeline"))
  await import(require("node:url").pathToFileURL(entry).href)
} else {
  // The pipe ends with us, however we end: the program stops then.
  const child = require("node:child_process").spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { ...process.env, PIPELINE_LAUNCHER: "3" }
  })
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // The terminal sends Ctrl-C to the whole group; passing it on would count as pressing it twice.
    process.on(signal, () => (signal === "SIGINT" && process.stdin.isTTY ? undefined : child.kill(signal)))
  }
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
