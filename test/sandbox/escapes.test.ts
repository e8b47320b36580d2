/** The sandbox under programs that try to get out of it, or to use up the machine: planted escapes, each with what it must not reach. */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { runConfined } from "../../src/sandbox/confined.ts"
import { findInterpreter, programIn } from "../../src/sandbox/interpreter.ts"
import type { Sandbox } from "../../src/sandbox/Sandbox.ts"
import { missing, sandboxFor } from "../support/sandboxed.ts"

const run = (sandbox: Sandbox, program: string) => Effect.runPromise(sandbox.run(program))

/** Processes of this machine, of whichever user and namespace, whose arguments hold a text. */
const processesWith = (text: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter(name => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return false
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(text)
    } catch {
      return false
    }
  })

describe.skipIf(missing !== undefined)("a sandboxed program", () => {
  let sandbox: Sandbox
  let secrets: string
  beforeAll(async () => {
    sandbox = await sandboxFor()
    secrets = mkdtempSync(join(homedir(), ".pipeline-sandbox-test-"))
    writeFileSync(join(secrets, "secret"), "secret")
  })
  afterAll(() => rmSync(secrets, { recursive: true }))

  it("is given nothing of the parent's environment, and a home and a folder that are empty", async () => {
    const allowed = [
      "HOME",
      "PATH",
      "LANG",
      "PWD",
      "OMP_NUM_THREADS",
      "OPENBLAS_NUM_THREADS",
      "MKL_NUM_THREADS",
      "LC_CTYPE"
    ]
    assert.strictEqual(
      await run(
        sandbox,
        `import os
assert set(os.environ) <= set(${JSON.stringify(allowed)}), os.environ
assert os.listdir(".") == [] and os.listdir(os.path.expanduser("~")) == []
open("own", "w").write("x")`
      ),
      "passed"
    )
    // Nothing is left for the next one.
    assert.strictEqual(await run(sandbox, "import os; assert os.listdir('.') == []"), "passed")
  })

  it.each([
    ["a file of the user's", (): string => join(secrets, "secret")],
    ["/etc/shadow", (): string => "/etc/shadow"],
    ["/etc/passwd", (): string => "/etc/passwd"],
    ["this source", (): string => new URL(import.meta.url).pathname],
    ["/proc/self/mem", (): string => "/proc/self/mem"],
    ["/proc/1/environ", (): string => "/proc/1/environ"],
    ["/sys", (): string => "/sys/kernel"],
    ["a shell", (): string => "/bin/sh"],
    ["a disk", (): string => "/dev/sda"],
    ["a terminal", (): string => "/dev/tty"],
    ["shared memory", (): string => "/dev/shm"]
  ] as const)("does not see %s", async (_, path) => {
    assert.strictEqual(await run(sandbox, `import os\nassert not os.path.lexists(${JSON.stringify(path())})`), "passed")
  })

  it("cannot write outside of its folder", async () => {
    const target = join(tmpdir(), `pipeline-escape-${process.pid}`)
    const program = `import os
for path in ["/x", "/usr/lib/x", "/lib/x", "/dev/x", "/etc/x", ${JSON.stringify(join(homedir(), "x"))}, os.path.join(os.path.dirname(os.__file__), "x.py")]:
  try:
    open(path, "w")
  except OSError:
    continue
  raise SystemError(path)
try:
  open(${JSON.stringify(target)}, "w").write("in a /tmp of its own, or nowhere")
except OSError:
  pass`
    assert.strictEqual(await run(sandbox, program), "passed")
    assert.isFalse(existsSync(target))
  })

  it("cannot remount, make namespaces, or get rights", async () => {
    const program = `import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def refused(result):
  assert result == -1 and ctypes.get_errno() in (1, 38), (result, ctypes.get_errno())
refused(libc.mount(b"none", b"/", None, 32 | 4096, None))
refused(libc.umount2(b"/tmp", 2))
refused(libc.unshare(0x10000000))
refused(libc.unshare(0x00020000))
refused(libc.ptrace(16, 1, 0, 0))
assert libc.setuid(0) == -1 # there is no such user here
refused(libc.chroot(b"/tmp"))
assert libc.prctl(39, 0, 0, 0, 0) == 1 # no new privileges`
    assert.strictEqual(await run(sandbox, program), "passed")
  })

  it("has no network: neither this machine's, nor sockets of another kind", async () => {
    let connections = 0
    const server = createServer(() => connections++)
    await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as { readonly port: number }
    const program = (filtered: boolean) => `import socket
${
  filtered
    ? `for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 40, 38, 16): # vsock, the kernel's ciphers, netlink
  try:
    socket.socket(family, socket.SOCK_STREAM)
  except OSError as e:
    assert e.errno == 1, e
    continue
  raise SystemError(family)`
    : `try:
  socket.create_connection(("127.0.0.1", ${port}), timeout=1)
except OSError:
  pass
else:
  raise SystemError()`
}`
    assert.strictEqual(await run(sandbox, program(true)), "passed")
    assert.strictEqual(await confined(program(false), { filter: undefined }), "passed")
    server.close()
    assert.strictEqual(connections, 0)
  })

  it("cannot use up memory, files or processes", async () => {
    const bounded: ReadonlyArray<readonly [string, RegExp]> = [
      ["x = bytearray(2 ** 31)", /^failed: MemoryError/],
      ["x = []\nwhile True: x.append(bytearray(2 ** 20))", /^failed: (MemoryError|ended by)|^timed out/],
      ["open('f', 'wb').write(bytes(2 ** 25))", /^failed: (OSError|ended by signal 25)/],
      ["i = 0\nwhile True:\n  open(str(i), 'wb').write(bytes(2 ** 23)); i += 1", /^failed: OSError: \[Errno 28\]/],
      ["import os\nwhile True: os.fork()", /^failed: PermissionError/],
      ["import subprocess; subprocess.run(['true'])", /^failed: /],
      ["import os\nfor _ in range(10000): os.dup(0)", /^failed: OSError: \[Errno 24\]/],
      [
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
        /^failed: |^timed out/
      ],
      ["x = 'a'\nfor _ in range(60): x = x + x", /^failed: MemoryError/]
    ]
    for (const [program, verdict] of bounded) assert.match(await run(sandbox, program), verdict, program)
  })

  it("cannot signal what runs outside: neither its parent, nor all that there is", async () => {
    const program =
      "import os, signal\nfor pid in (os.getppid(), 1):\n  os.kill(pid, signal.SIGKILL)\nos.kill(-1, signal.SIGTERM)"
    // Of its own namespace it may end what it likes; the first process of it hears no signal from inside.
    assert.match(await run(sandbox, program), /^passed$|^failed: /)
    assert.strictEqual(
      await run(
        sandbox,
        `import os\ntry:\n  os.kill(${process.pid}, 0)\nexcept ProcessLookupError: pass\nelse:\n  assert ${process.pid} < 4`
      ),
      "passed"
    )
  })

  /** Without the filter, which refuses new processes: the namespace alone. */
  const confined = async (
    program: string,
    changes: { readonly seconds?: number; readonly filter: undefined; readonly signal?: AbortSignal }
  ) => {
    const interpreter = await Effect.runPromise(findInterpreter())
    return runConfined(program, {
      bubblewrap: programIn("bwrap")!,
      interpreter,
      seconds: 3,
      memoryMiB: 1024,
      ...changes
    })
  }
  /** Starts a daemon: forked twice, in a session of its own, deaf to signals, and found by an argument. */
  const daemon = (mark: string) => `import os, signal, sys, time
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    for s in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-I", "-c", "import time; time.sleep(60) # ${mark}"])
  os._exit(0)
time.sleep(0.5)
`

  it("leaves nothing behind: a daemon ends with the verdict, with the time, and with who asked", async () => {
    const marks = ["passing", "late", "aborted"].map(name => `pipeline-daemon-${name}-${process.pid}`)
    assert.strictEqual(await confined(daemon(marks[0]!), { filter: undefined }), "passed")
    assert.strictEqual(
      await confined(`${daemon(marks[1]!)}time.sleep(60)`, { filter: undefined, seconds: 1 }),
      "timed out"
    )
    const aborting = new AbortController()
    const ended = confined(`${daemon(marks[2]!)}time.sleep(60)`, {
      filter: undefined,
      seconds: 30,
      signal: aborting.signal
    })
    // The daemon is really there before it is ended.
    while (processesWith(marks[2]!).length < 1) await new Promise(resolve => setTimeout(resolve, 20))
    aborting.abort(new Error("enough"))
    assert.match(String(await ended.catch(String)), /enough/)
    for (const mark of marks) assert.deepStrictEqual(processesWith(mark), [], mark)
  })

  it("ends with the process that asked for it, when that is killed", async () => {
    const mark = `pipeline-orphan-${process.pid}`
    const interpreter = await Effect.runPromise(findInterpreter())
    const script = `import { runConfined } from ${JSON.stringify(new URL("../../src/sandbox/confined.ts", import.meta.url).href)}
await runConfined(${JSON.stringify(`${daemon(mark)}time.sleep(60)`)}, ${JSON.stringify({ bubblewrap: programIn("bwrap"), interpreter, seconds: 60, memoryMiB: 1024 })})`
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "ignore" })
    while (processesWith(mark).length < 2) await new Promise(resolve => setTimeout(resolve, 20))
    parent.kill("SIGKILL")
    // The kernel ends them one after the other.
    for (let i = 0; i < 500 && processesWith(mark).length > 0; i++)
      await new Promise(resolve => setTimeout(resolve, 10))
    assert.deepStrictEqual(processesWith(mark), [])
  })
})
