/** What the sandbox says of programs, how they may not cheat, and where there is no sandbox. */
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Fiber, Result } from "effect"
import { assert, beforeAll, describe, it } from "vitest"
import { findInterpreter, programIn } from "../../src/sandbox/interpreter.ts"
import { hasPermission, setPermission } from "../../src/sandbox/permission.ts"
import { makeSandbox, type Sandbox } from "../../src/sandbox/Sandbox.ts"
import { allowing, missing, sandboxFor } from "../support/sandboxed.ts"

const run = (sandbox: Sandbox, program: string) => Effect.runPromise(sandbox.run(program))

describe.skipIf(missing !== undefined)("a sandboxed program", () => {
  let sandbox: Sandbox
  beforeAll(async () => void (sandbox = await sandboxFor()))

  it("passes when its last line is done", async () => {
    assert.strictEqual(await run(sandbox, "assert sorted([2, 1]) == [1, 2]"), "passed")
    assert.strictEqual(await run(sandbox, "print('é€😀')\nassert len('é€😀') == 3"), "passed")
  })

  it.each([
    ["assert 1 == 2, 'one is not two'", "failed: AssertionError: one is not two"],
    ["def f(:", "failed: SyntaxError: invalid syntax (<string>, line 1)"],
    ["raise ValueError('a\\n  b')", "failed: ValueError: a b"],
    ["import sys; sys.exit(0)", "failed: SystemExit: 0"],
    ["exit()", /^failed: (NameError|SystemExit)/],
    ["import os; os._exit(0)", "failed: left with exit code 0 before its tests were through"],
    ["import ctypes; ctypes.string_at(0)", "failed: ended by signal 11 before its tests were through"],
    ["input()", "failed: EOFError: EOF when reading a line"],
    ["class E(Exception):\n  def __str__(self): raise self\nraise E()", "failed: E"]
  ] as const)("says how it failed: %s", async (program, verdict) => {
    const found = await run(sandbox, program)
    if (typeof verdict === "string") assert.strictEqual(found, verdict)
    else assert.match(found, verdict)
  })

  it.each([
    ["printed", "print('passed')"],
    [
      "written to every descriptor",
      "import os\nfor fd in range(64):\n  try: os.write(fd, b'passed\\n')\n  except OSError: pass"
    ],
    ["written with a guessed token", "import os\nos.write(4, b'0' * 64 + b' passed\\n')"],
    ["written in front of the verdict", "import os\nos.write(4, b'x')\nassert True"],
    ["written without end", "import os\nwhile True: os.write(4, b'passed\\n' * 1000)"]
  ] as const)("does not pass by a verdict of its own, %s", async (_, program) => {
    assert.match(await run(sandbox, `${program}\nimport os\nos._exit(0)`), /^failed: /)
  })

  it("does not pass by taking the verdict's descriptor away", async () => {
    assert.match(await run(sandbox, "import os\nos.close(4)"), /^failed: /)
  })

  it("times out, however it passes the time", async () => {
    const quick = await sandboxFor({ seconds: 0.5 })
    for (const program of [
      "while True: pass",
      "import time; time.sleep(60)",
      "while True: print('x' * 10000)",
      "import sys\nwhile True: sys.stderr.write('x' * 10000)",
      "import signal, time\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\ntime.sleep(60)",
      "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ntime.sleep(60)",
      "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    ])
      assert.strictEqual(await run(quick, program), "timed out")
  })

  it("does not wait for threads of a program that is done", async () => {
    assert.strictEqual(
      await run(sandbox, "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"),
      "passed"
    )
  })

  it("ends when the effect that waits for it is interrupted", async () => {
    const mark = `interrupted-${process.pid}`
    const fiber = Effect.runFork(sandbox.run(`# ${mark}\nimport time; time.sleep(60)`))
    await new Promise(resolve => setTimeout(resolve, 500))
    await Effect.runPromise(Fiber.interrupt(fiber))
    assert.strictEqual(fiber.pollUnsafe()?._tag, "Failure")
  })

  it("runs beside others, each with its own verdict", async () => {
    const programs = Array.from({ length: 12 }, (_, i) => `assert ${i} % 3, ${i}`)
    const found = await Effect.runPromise(Effect.forEach(programs, sandbox.run, { concurrency: 4 }))
    assert.deepStrictEqual(
      found,
      programs.map((_, i) => (i % 3 === 0 ? `failed: AssertionError: ${i}` : "passed"))
    )
  })

  it("says which module the interpreter lacks before anything is run", async () => {
    const failed = await Effect.runPromise(
      Effect.result(makeSandbox({ seconds: 3, memoryMiB: 1024, modules: ["json", "no_such_module_here"] }, allowing))
    )
    assert.isTrue(Result.isFailure(failed))
    if (Result.isFailure(failed)) {
      assert.strictEqual(failed.failure.class, "permanent")
      assert.match(failed.failure.message, /import no_such_module_here/)
      assert.match(failed.failure.advice ?? "", /pip install no_such_module_here/)
    }
  })

  it("works with the system's own Python, whose tree is not bound as a whole", async () => {
    const system = "/usr/bin/python3"
    if (!existsSync(system)) return
    const made = await Effect.runPromise(
      makeSandbox({ seconds: 3, memoryMiB: 1024 }, { ...allowing, PIPELINE_SANDBOX_PYTHON: system })
    )
    assert.strictEqual(
      await run(made, "import ssl, ctypes, decimal, os\nassert not os.path.exists('/usr/bin/env')"),
      "passed"
    )
  })

  it("works with a virtual environment, wherever it lies", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pipeline-venv-"))
    execFileSync("python3", ["-m", "venv", "--without-pip", join(folder, "venv")])
    const made = await Effect.runPromise(
      makeSandbox(
        { seconds: 3, memoryMiB: 1024 },
        { ...allowing, PIPELINE_SANDBOX_PYTHON: "", VIRTUAL_ENV: join(folder, "venv") }
      )
    )
    const program = `import sys\nassert sys.prefix == ${JSON.stringify(join(folder, "venv"))} != sys.base_prefix`
    assert.strictEqual(await run(made, program), "passed")
    assert.match(
      await run(made, `open(sys.prefix + "/x", "w")`.replace("sys", "__import__('sys')")),
      /^failed: OSError: \[Errno 30\]/
    )
    rmSync(folder, { recursive: true })
  })

  it("keeps what is bound to what Python needs", async () => {
    const { binds } = await Effect.runPromise(findInterpreter())
    assert.notInclude(binds, "/")
    assert.notInclude(binds, homedir())
    assert.notInclude(binds, "/usr")
    assert.notInclude(binds, "/etc")
  })
})

describe("a sandbox is refused", () => {
  const refusal = async (environment: NodeJS.ProcessEnv) => {
    const made = await Effect.runPromise(Effect.result(makeSandbox({ seconds: 3, memoryMiB: 1024 }, environment)))
    if (Result.isSuccess(made)) throw new Error("it was made")
    return made.failure
  }

  it("where nobody asked for it", async () => {
    const { advice, class: kind } = await refusal({ ...process.env, PIPELINE_ALLOW_CODE_EXECUTION: "" })
    assert.strictEqual(kind, "permanent")
    assert.match(advice ?? "", /--allow-code-execution/)
  })

  it("where bubblewrap is not there", async () => {
    const { advice, message } = await refusal({ PATH: "/nonexistent", PIPELINE_ALLOW_CODE_EXECUTION: "1" })
    assert.match(message, /bubblewrap \(bwrap\) is not there/)
    assert.match(advice ?? "", /apt-get install bubblewrap/)
  })

  it("where bubblewrap may not make namespaces", async () => {
    // What a kernel that forbids them makes bubblewrap say.
    const folder = mkdtempSync(join(tmpdir(), "pipeline-no-namespaces-"))
    writeFileSync(
      join(folder, "bwrap"),
      "#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n",
      { mode: 0o755 }
    )
    const { class: kind, message } = await refusal({ ...allowing, PATH: `${folder}:${process.env["PATH"]}` })
    assert.strictEqual(kind, "permanent")
    assert.match(message, /No permissions to create a new namespace/)
    rmSync(folder, { recursive: true })
  })

  it("where there is no Python", async () => {
    if (programIn("bwrap") === undefined) return
    const { message } = await refusal({ ...allowing, PIPELINE_SANDBOX_PYTHON: "/nonexistent/python3" })
    assert.match(message, /\/nonexistent\/python3 is not there/)
  })

  it("unless the flag said so: what a shell exports is taken away", () => {
    const before = process.env["PIPELINE_ALLOW_CODE_EXECUTION"]
    process.env["PIPELINE_ALLOW_CODE_EXECUTION"] = "1"
    setPermission(false)
    assert.isFalse(hasPermission())
    setPermission(true)
    assert.isTrue(hasPermission())
    assert.strictEqual(
      execFileSync(process.execPath, ["-p", "process.env.PIPELINE_ALLOW_CODE_EXECUTION"], { encoding: "utf8" }).trim(),
      "1"
    )
    setPermission(false)
    if (before !== undefined) process.env["PIPELINE_ALLOW_CODE_EXECUTION"] = before
  })
})
