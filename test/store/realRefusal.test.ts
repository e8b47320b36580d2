import { execFileSync, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { temporaryFolder } from "../support/storeSetup.ts"
import type { Probe } from "../support/storeProbe.ts"

const program = fileURLToPath(new URL("../support/storeProbe.ts", import.meta.url))
const root = process.getuid?.() === 0

/** A mount of our own needs root, and a kernel that lets it; nobody outside the command sees it. */
const canMount = root && spawnSync("unshare", ["-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]).status === 0
if (!canMount) console.warn("a really full and a really read-only disk are not tested: mounting a tmpfs needs root")

const mounted = (folder: string, size: number, then: string, before = "true") =>
  JSON.parse(
    execFileSync(
      "unshare",
      [
        "-m",
        "sh",
        "-c",
        `mount -t tmpfs -o size=1m tmpfs "$1" && "$2" "$3" "$1" 0 prepare && ${before} && ${then} && "$2" "$3" "$1" "$4"`,
        "sh",
        folder,
        process.execPath,
        program,
        String(size)
      ],
      { encoding: "utf8" }
    )
  ) as Probe

/** For root nothing is forbidden, unless it gives up that right; it stays itself, so that a checkout in a private directory can be read. */
const powerless = ["--bounding-set=-dac_override,-dac_read_search"]
const canGiveUp = root && spawnSync("setpriv", [...powerless, "true"]).status === 0

const asOrdinaryUser = ([command, ...args]: readonly [string, ...ReadonlyArray<string>]) =>
  canGiveUp
    ? spawnSync("setpriv", [...powerless, command, ...args], { encoding: "utf8" })
    : spawnSync(command, args, { encoding: "utf8", ...(root ? { uid: 65534, gid: 65534 } : {}) })

describe("a real disk", () => {
  it.effect.skipIf(!canMount)(
    "that is full: a clear error with the numbers, nothing lost, nothing left behind",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const probe = mounted(folder, 2_000_000, `head -c 500 /dev/zero > "$1/staged.bin"`)
        assert.strictEqual(probe.put, "ENOSPC")
        assert.strictEqual(probe.needed, 2_000_000)
        assert.isAbove(probe.free ?? 0, 900_000, "what was written in vain is gone")
        assert.match(probe.message, /the disk that holds .* is full: .* free, 2\.0 MB needed/)
        assert.include(probe.advice, "pipeline gc")
        assert.strictEqual(probe.earlier, "sound")
        assert.strictEqual(probe.publish, "added 1", "moving files within a disk needs no room")
        assert.deepStrictEqual(probe.left, [])
      }),
    60_000
  )

  it.effect.skipIf(!canMount)(
    "that is read-only: what is there is read, what is staged stays",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const probe = mounted(folder, 1000, `mount -o remount,ro "$1"`, `head -c 500 /dev/zero > "$1/staged.bin"`)
        assert.strictEqual(probe.put, "EROFS")
        assert.include(probe.message, "read-only")
        assert.strictEqual(probe.earlier, "sound")
        assert.strictEqual(probe.publish, "EROFS")
        assert.deepStrictEqual(probe.left, ["staged.bin"])
      }),
    60_000
  )

  it.effect(
    "that forbids writing: the error names the path, and what is there is read",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        fs.chmodSync(folder, 0o755)
        execFileSync(process.execPath, [program, folder, "0", "prepare"])
        fs.writeFileSync(join(folder, "staged.bin"), "staged")
        const locked = [join(folder, "cache", "tmp"), join(folder, "cache", "objects"), join(folder, "cache"), folder]
        for (const shard of fs.readdirSync(join(folder, "cache", "objects"))) {
          fs.chmodSync(join(folder, "cache", "objects", shard), 0o555)
        }
        for (const path of locked) fs.chmodSync(path, 0o555)
        const result = asOrdinaryUser([process.execPath, program, folder, "1000"])
        for (const path of locked) fs.chmodSync(path, 0o755)
        assert.strictEqual(result.status, 0, result.error?.message ?? result.stderr)
        const probe = JSON.parse(result.stdout) as Probe
        assert.include(["EACCES", "EPERM"], probe.put)
        assert.include(probe.message, "permission denied")
        assert.include(probe.message, folder)
        assert.strictEqual(probe.earlier, "sound")
        assert.include(["EACCES", "EPERM"], probe.publish)
        assert.deepStrictEqual(probe.left, ["staged.bin"])
      }),
    60_000
  )
})
