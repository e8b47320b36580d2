/** Readers that are gone, full disks, hang-ups, launchers that are killed, hostile text: what the program does with its streams and signals. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it, type TestContext } from "vitest"
import { Database } from "../../src/ledger/Database.ts"
import { notedPid, until } from "../runner/processes.ts"

const launcher = fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url))
const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))
const hostile = "\u001b]0;owned\u0007\u001b[31mred\u001b[2J\u009b3J\rover\u202etxt"

const pipeline = `
import { Artifact, Effect, Pipeline, Schema, Stage, StageError } from "dllm-pipeline"
import { writeFileSync } from "node:fs"
const Text = Artifact.kind("text", { description: "", metadata: Schema.Struct({}) })
export const say = Stage.make("say", {
  inputs: {}, parameters: Schema.Struct({ text: Schema.String }), outputs: { text: Text }, retries: { transient: 0 },
  run: Effect.fn("say")(function* ({ outputs, parameters: { text } }) {
    console.log(text)
    if (text === "slow") { writeFileSync(process.env.STARTED, process.ppid + " " + process.env.PIPELINE_HANGUP); yield* Effect.sleep(Number(process.env.SLEEP ?? 60000)) }
    if (text.startsWith("fail")) return yield* new StageError({ class: "permanent", message: text })
    yield* outputs.text.write("text.txt", text)
    yield* outputs.text.metadata({})
  })
})
export default Pipeline.make("say", { description: "", profiles: { p: { description: "", needs: "", make: () => 0 } } },
  () => Object.fromEntries(JSON.parse(process.env.TEXTS).map((text, i) => ["t" + i, say({ name: "t" + i, text })])))
`

interface World {
  readonly folder: string
  /** In a session of its own unless said otherwise: whoever runs these tests may ignore that hang-ups come (nohup). */
  readonly start: (
    script: string,
    texts?: ReadonlyArray<string>,
    env?: NodeJS.ProcessEnv,
    session?: { readonly ownSession?: boolean }
  ) => ChildProcess
  /** Runs a script of the shell, in which \`$P\` is the program. */
  readonly shell: (
    script: string,
    texts?: ReadonlyArray<string>,
    env?: NodeJS.ProcessEnv
  ) => Promise<{ code: number | null; out: string }>
  /** The id of the program, once a stage called "slow" runs. */
  readonly started: () => number | undefined
  /** Status of every run. */
  readonly runs: () => ReadonlyArray<string>
}

/** A Node that cannot run the program itself, where there is one. */
const olderNode = () =>
  (process.env["PATH"] ?? "")
    .split(":")
    .map(folder => join(folder, "node"))
    .filter(path => existsSync(path))
    .find(path => {
      const [major, minor] = execFileSync(path, ["-p", "process.versions.node"], { encoding: "utf8" })
        .split(".")
        .map(Number)
      return major! >= 16 && (major! < 22 || (major === 22 && minor! < 19))
    })

const setUp = ({ onTestFinished }: Pick<TestContext, "onTestFinished">): World => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-streams-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  writeFileSync(join(folder, "say.ts"), pipeline)
  const note = join(folder, "started")
  const start: World["start"] = (script, texts = ["a", "b"], env = {}, { ownSession = true } = {}) => {
    const { FORCE_COLOR: _, _: _command, ...inherited } = process.env
    const child = spawn("bash", ["-c", script], {
      cwd: folder,
      detached: ownSession,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...inherited,
        NODE_OPTIONS: "",
        NO_COLOR: "1",
        P: `${process.execPath} ${main}`,
        RUN: `${process.execPath} ${main} run ./say.ts`,
        NODE: process.execPath,
        BIN: `${launcher} run ./say.ts`,
        PATH: `${dirname(process.execPath)}:${inherited["PATH"]}`,
        PIPELINE_CACHE: join(folder, "cache"),
        TEXTS: JSON.stringify(texts),
        STARTED: note,
        ...env
      }
    })
    onTestFinished(() => void child.kill("SIGKILL"))
    return child
  }
  return {
    folder,
    start,
    shell: (script, texts, env) => {
      const child = start(script, texts, env)
      let out = ""
      child.stdout!.on("data", data => (out += String(data)))
      child.stderr!.on("data", data => (out += String(data)))
      return new Promise(resolve => child.on("close", code => resolve({ code, out })))
    },
    started: notedPid(note),
    runs: () => {
      const database = Database.openReadonly(join(folder, "cache", "ledger.db"))
      try {
        return database?.all<{ status: string }>("SELECT status FROM run ORDER BY id").map(({ status }) => status) ?? []
      } finally {
        database?.close()
      }
    }
  }
}

describe("a run whose events go to a program", () => {
  it("prints nothing beside them, no warning of Node's either", async context => {
    const { shell } = setUp(context)
    const { code, out } = await shell("$RUN --json 2>&1 > /dev/null")
    assert.deepStrictEqual({ code, out }, { code: 0, out: "" })
  })
})

describe.skipIf(process.platform !== "linux")("a lost reader", () => {
  const cases = {
    "of events": "$RUN --json | head -1 > /dev/null; exit ${PIPESTATUS[0]}",
    "of progress": "$RUN 2>&1 > /dev/null | head -1 > /dev/null; exit ${PIPESTATUS[0]}",
    "of everything, as both were closed": "$RUN --json >&- 2>&-",
    "whose disk is full": "$RUN --json > /dev/full 2> /dev/full"
  }
  it.concurrent.for(Object.entries(cases))(
    "%s does not end the work; the exit code says what was done",
    async ([, script], context) => {
      const { runs, shell } = setUp(context)
      assert.strictEqual((await shell(script)).code, 0)
      assert.strictEqual((await shell(script, ["a", "fail"])).code, 1)
      assert.deepStrictEqual(runs(), ["done", "failed"])
    }
  )

  it.concurrent("cannot be had at all, of what actions print: the work goes on, and that is said", async context => {
    const { folder, runs, shell } = setUp(context)
    mkdirSync(join(folder, "cache"))
    // Below a file nothing can be written, not even by root.
    writeFileSync(join(folder, "cache", "logs"), "")
    const ended = await shell("$RUN")
    assert.strictEqual(ended.code, 0, ended.out)
    assert.include(ended.out, "what the action prints is lost")
    assert.deepStrictEqual(runs(), ["done"])
  })

  it.concurrent("of rows ends a query quietly", async context => {
    const { shell } = setUp(context)
    await shell("$RUN", ["a"])
    const rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 50000) SELECT x FROM c"
    assert.deepStrictEqual(await shell(`$P query "${rows}" --format csv | head -2; exit \${PIPESTATUS[0]}`), {
      code: 0,
      out: "x\n1\n"
    })
  })
})

describe.skipIf(process.platform !== "linux")("a signal", () => {
  it.concurrent("ends a query in the middle of SQLite's work", async context => {
    const { shell } = setUp(context)
    await shell("$RUN", ["a"])
    const endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    for (const [signal, code] of [
      ["TERM", 143],
      ["HUP", 129],
      ["INT", 130]
    ] as const) {
      // Job control, without which bash lets background jobs ignore Ctrl-C.
      const ended = await shell(`set -m; $P query "${endless}" & sleep 0.5; kill -${signal} $!; wait $!`)
      assert.strictEqual(ended.code, code, ended.out)
    }
  })

  it.concurrent("ends a run that is still reading a pipeline which never ends", async context => {
    const { folder, shell } = setUp(context)
    writeFileSync(join(folder, "endless.ts"), "for (;;) {}")
    assert.strictEqual((await shell("$P run ./endless.ts & sleep 0.5; kill -TERM $!; wait $!")).code, 143)
  })

  it.concurrent.for(["exec $RUN", "exec $BIN"])("that hangs up ends a run cleanly: %s", async (script, context) => {
    const { runs, start, started } = setUp(context)
    const child = start(script, ["slow"])
    await until(started)
    child.kill("SIGHUP")
    const code = await new Promise(resolve => child.on("close", resolve))
    assert.strictEqual(code, 130)
    assert.deepStrictEqual(runs(), ["interrupted"])
  })

  // `npm` links to $BIN. Where the program is started as `node …` ($RUN), only the shell and what nohup leaves tell of it.
  it.concurrent.for([
    "nohup $RUN & wait $!",
    "trap '' HUP; $RUN & wait $!",
    // As npm does: Node starts a shell, which starts the program.
    `trap '' HUP; $NODE -e 'child_process.spawnSync("sh", ["-c", process.env.RUN + "; exit $?"], { stdio: "inherit" })' & wait $!`,
    "exec nohup $BIN",
    "exec setsid nohup $BIN",
    "exec nohup nice $BIN",
    "exec nohup env A=1 $BIN < /dev/null",
    `exec sh -c 'trap "" HUP; exec $BIN'`,
    `exec sh -c 'trap "" HUP; exec env PATH=${dirname(olderNode() ?? process.execPath)}:$PATH $BIN'`
  ])("that hangs up does nothing where it is ignored: %s", async (script, context) => {
    const { folder, runs, start, started } = setUp(context)
    // `setsid` would fork a process that leads a session.
    const child = start(script, ["slow"], { SLEEP: "600" }, { ownSession: false })
    const program = await until(started)
    const passedOn = readFileSync(join(folder, "started"), "utf8").split(" ")[1]
    process.kill(script.startsWith("exec") ? child.pid! : program, "SIGHUP")
    const code = await new Promise(resolve => child.on("close", resolve))
    assert.strictEqual(code, 0, script)
    assert.deepStrictEqual(runs(), ["done"])
    assert.strictEqual(passedOn, "undefined", "what the link says is for the program alone")
  })
})

describe.skipIf(process.platform !== "linux" || olderNode() === undefined)("the launcher in an older Node", () => {
  it.concurrent("passes on what comes in, goes out and comes of it", async context => {
    const { shell } = setUp(context)
    const ended = await shell(`${olderNode()} ${launcher} run ./say.ts --json | head -1`, ["fail"])
    assert.include(ended.out, '"type":"run-started"')
    assert.strictEqual((await shell(`${olderNode()} ${launcher} run ./say.ts`, ["fail"])).code, 1)
    assert.strictEqual((await shell(`${olderNode()} ${launcher} nonsense`)).code, 2)
  })

  it.concurrent("takes the program with it when it is killed", async context => {
    const { runs, start, started } = setUp(context)
    const child = start(`exec ${olderNode()} ${launcher} run ./say.ts`, ["slow"])
    await until(started)
    child.kill("SIGKILL")
    await until(() => (runs()[0] === "interrupted" ? true : undefined))
  })
})

describe.skipIf(process.platform !== "linux")("text of a stage", () => {
  it("reaches no terminal as it is, whatever verb shows it", async context => {
    const { shell } = setUp(context)
    const said = async (script: string, env?: NodeJS.ProcessEnv) => (await shell(script, [`fail ${hostile}`], env)).out
    const disturbing = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/
    const outputs = await said("$RUN")
    assert.include(outputs, "\\u001b[31mred", "escaped, not dropped")
    assert.notMatch(outputs, disturbing)
    const verbs = [
      "status",
      "show say",
      "runs",
      "why say",
      "query 'SELECT message FROM execution'",
      "metrics say",
      "lineage say"
    ]
    const shown = await said(verbs.map(verb => `$P ${verb}`).join("; "))
    assert.include(shown, "owned")
    assert.notMatch(shown, disturbing)
    // On a terminal: nothing but colours, cursor moves of the live display, and what `script` adds.
    const live = await said(
      `script -qec "$RUN; $P show say/t0 --log; $P query 'SELECT message FROM execution' --format csv" /dev/null`,
      {
        NO_COLOR: undefined,
        TERM: "xterm"
      }
    )
    assert.include(live, "owned")
    assert.notMatch(live.replaceAll(/\u001b\[(\d+m|\d+A|0J|\?25[lh])/g, "").replaceAll("\r\n", "\n"), disturbing)
    assert.notInclude(live, "\u001b[31mred")
    // Another program gets the data as they are.
    const data = await said("$P query 'SELECT message FROM execution' --format csv")
    assert.include(data, hostile)
  })
})
