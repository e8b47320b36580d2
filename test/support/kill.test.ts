import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { notedPid } from "../runner/processes.ts"

describe("signals that tests send", () => {
  it.for([0, -1, -process.pid, Number(""), Number("x")])("go to one process, never to %s", pid => {
    assert.throws(() => process.kill(pid, 0), /not the id of one process/)
  })

  it("reach that one", () => assert.isTrue(process.kill(process.pid, 0)))
})

it("an id is read from a file once it stands there", () => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-noted-"))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, "pid")
  const read = notedPid(file)
  assert.isUndefined(read(), "no file")
  for (const [text, pid] of [
    ["", undefined],
    ["0", undefined],
    ["12 undefined", 12],
    ["12\n", 12]
  ] as const) {
    writeFileSync(file, text)
    assert.strictEqual(read(), pid, text)
  }
})
