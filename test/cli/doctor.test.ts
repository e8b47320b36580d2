import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { isNetwork, mountOf } from "../../src/cli/verbs/checks/disk.ts"
import { Database } from "../../src/ledger/Database.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { program } from "../support/program.ts"

interface DoctorJson {
  readonly findings: ReadonlyArray<{
    readonly severity: "ok" | "warning" | "problem"
    readonly name: string
    readonly text: string
    readonly advice?: string
  }>
  readonly problems: number
}

let house: MaintenanceFolder
beforeEach(() => {
  house = new MaintenanceFolder()
})
afterEach(() => house.remove())

/** Nothing listens there: no test leaves the machine. */
const nowhere = { HF_ENDPOINT: "http://127.0.0.1:1", HF_HOME: "/nonexistent" }

const doctor = async (environment: Readonly<Record<string, string>> = nowhere) => {
  const ended = await program(["doctor", "--json"], { cwd: house.path, environment })
  const { findings, problems } = JSON.parse(ended.stdout) as DoctorJson
  const of = (name: string) => {
    const found = findings.find(each => each.name === name)
    assert.isDefined(found, `${name} is among ${findings.map(each => each.name).join(", ")}`)
    return found
  }
  return { ...ended, findings, problems, of }
}

describe("pipeline doctor", () => {
  it("looks at every side of a machine without a cache, leaves nothing behind, and an unreachable hub is no failure", async () => {
    const before = house.snapshot()
    const { code, findings, of } = await doctor()
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(house.snapshot(), before)
    assert.include(of("node").text, process.version)
    assert.match(of("cache").text, /^writable, syncs; /)
    assert.match(of("ledger").text, /none yet/)
    assert.match(of("embedded data").text, /\d+ artifacts/)
    assert.deepStrictEqual([of("hub").severity, of("hub token").severity], ["warning", "ok"])
    assert.match(of("hub").text, /not reachable/)
    for (const name of ["processor", "memory", "disk", "python3", "sbatch"]) assert.isNotEmpty(of(name).text)
    for (const { advice, severity } of findings) assert.strictEqual(advice !== undefined, severity !== "ok")
  })

  it("says that the hub answers, and never shows the token", async () => {
    const asked: Array<string | undefined> = []
    const server = createServer((request, response) => {
      asked.push(request.headers.authorization)
      response.end()
    })
    await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
    try {
      const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const { of, stderr, stdout } = await doctor({ HF_ENDPOINT: endpoint, HF_TOKEN: "hf_verysecret" })
      assert.deepStrictEqual([of("hub").severity, of("hub").text], ["ok", `${endpoint} answers`])
      assert.match(of("hub token").text, /^set/)
      assert.notInclude(stdout + stderr, "verysecret")
      assert.deepStrictEqual(asked, [undefined], "nor sends it for a look")
    } finally {
      server.close()
    }
  })

  it("asks nobody when offline is wanted", async () => {
    const { of } = await doctor({ ...nowhere, HF_HUB_OFFLINE: "1" })
    assert.strictEqual(of("hub").severity, "ok")
  })

  it("tells the state of a cache, and what dead processes left in it", async () => {
    await house.run()
    const clean = await doctor()
    assert.match(clean.of("ledger").text, /schema \d+, .*journal wal, 1 run$/)
    assert.strictEqual(clean.of("work").text, "nothing is running")
    assert.strictEqual(clean.of("leftovers").severity, "ok")
    mkdirSync(join(house.cache, "actions", "0123456789abcdef.9"), { recursive: true })
    const left = await doctor()
    assert.deepStrictEqual([left.code, left.of("leftovers").severity], [0, "warning"])
    assert.include(left.of("leftovers").advice!, "pipeline gc")
  })

  it("fails where the main job cannot run: a ledger of a newer program, or one that is none", async () => {
    mkdirSync(house.cache)
    const file = join(house.cache, "ledger.db")
    const database = Database.open(file)
    database.run("PRAGMA user_version = 9999")
    database.close()
    const newer = await doctor()
    assert.deepStrictEqual([newer.code, newer.of("ledger").severity], [1, "problem"])
    assert.match(newer.of("ledger").text, /newer program/)
    writeFileSync(file, "this is no database, but it is long enough to look like a file of some kind ".repeat(20))
    const broken = await doctor()
    assert.deepStrictEqual([broken.code, broken.of("ledger").severity], [1, "problem"])
  })
})

describe("the mount of a path", () => {
  const mounts = [
    "/dev/root / ext4 rw 0 0",
    "server:/home /home nfs4 rw 0 0",
    "/dev/sdb1 /home/me/with\\040space xfs rw 0 0",
    "tmpfs /homework tmpfs rw 0 0",
    "overlay / overlay rw 0 0"
  ].join("\n")

  it("is the deepest that holds it, the later of two at one place, with spaces decoded", () => {
    for (const [path, type] of [
      ["/srv/cache", "overlay"],
      ["/home/you/cache", "nfs4"],
      ["/home", "nfs4"],
      ["/home/me/with space/cache", "xfs"],
      ["/home/me/with spaces", "nfs4"],
      ["/homework/cache", "tmpfs"]
    ] as const)
      assert.strictEqual(mountOf(mounts, path)?.type, type, path)
    assert.isUndefined(mountOf("", "/srv"))
  })

  it("is a network file system for those that other machines write to", () => {
    for (const type of ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.gcsfuse", "lustre", "beegfs", "ceph"])
      assert.isTrue(isNetwork(type), type)
    for (const type of ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "fuse.fuse-overlayfs", "apfs"])
      assert.isFalse(isNetwork(type), type)
  })
})
