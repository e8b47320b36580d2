/** Disks that are really full, below the whole program: what gives room back works without any, and a log that cannot be written ends no work. */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it, onTestFinished } from "vitest"

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))
/** A mount of our own needs root, and a kernel that lets it; nobody outside the command sees it. */
const canMount =
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]).status === 0
if (!canMount) console.warn("programs on a full disk are not tested: mounting a tmpfs needs root")

const pipeline = `
import { Artifact, Effect, Pipeline, Schema, Stage, StageError } from "dllm-pipeline"
import { spawnSync } from "node:child_process"
import { statfsSync, writeFileSync } from "node:fs"
const Bytes = Artifact.kind("bytes", { description: "", metadata: Schema.Struct({}) })
/** Writes megabytes; or keeps them in its checkpoint and fails. */
export const big = Stage.make("big", {
  inputs: {}, parameters: Schema.Struct({ megabytes: Schema.Int, keeps: Schema.Boolean }), outputs: { bytes: Bytes },
  run: Effect.fn("big")(function* ({ checkpoint, outputs, parameters: { keeps, megabytes } }) {
    const bytes = new Uint8Array(megabytes * 2 ** 20).fill(megabytes)
    if (keeps) {
      writeFileSync(checkpoint + "/kept", bytes)
      return yield* new StageError({ class: "permanent", message: "as it was told" })
    }
    yield* outputs.bytes.write("bytes", bytes)
    yield* outputs.bytes.metadata({})
  })
})
/** Prints much, by itself and by a program that it starts. */
export const chatter = Stage.make("chatter", {
  inputs: { from: Bytes }, parameters: Schema.Struct({ lines: Schema.Int, fails: Schema.Boolean }), outputs: { bytes: Bytes },
  retries: { crashed: 0 },
  run: Effect.fn("chatter")(function* ({ outputs, parameters: { fails, lines } }) {
    for (let i = 0; i < lines; i++) {
      process.stdout.write("x".repeat(1000) + "\\n")
      console.log("y".repeat(1000))
      process.stderr.write("z".repeat(1000) + "\\n")
      if (i % 100 === 0) spawnSync("sh", ["-c", "echo zzz; echo zzz >&2"], { stdio: "inherit" })
      if (i % 10 === 0) yield* Effect.sleep(1)
    }
    if (lines > 0) {
      const { bavail } = statfsSync(process.env.PIPELINE_CACHE + "/logs")
      if (bavail > 0) return yield* new StageError({ class: "permanent", message: "the disk is not full" })
    }
    if (fails) return yield* new StageError({ class: "permanent", message: "as it was told" })
    yield* outputs.bytes.write("bytes", "all was printed")
    yield* outputs.bytes.metadata({})
  })
})
const profile = { description: "", needs: "", make: () => 0 }
export default Pipeline.make("disk", { description: "", profiles: { p: profile } }, () =>
  chatter({ from: big({ megabytes: 4, keeps: false }), lines: 0, fails: false }))
`

/** Runs a script of the shell on a disk of its own of so many bytes, `$DISK`; `$P` is the program. What each command printed, and its exit code. */
const onDisk = (size: string, place: string, commands: ReadonlyArray<string>) => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-full-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  writeFileSync(join(folder, "disk.ts"), pipeline)
  const disk = join(folder, place)
  mkdirSync(disk, { recursive: true })
  const script = [
    `mount -t tmpfs -o size=${size} tmpfs ${disk} || exit 1`,
    ...commands.map((command, i) => `{ ${command}; } > ${folder}/${i}.txt 2>&1; echo $?`)
  ].join("\n")
  const { FORCE_COLOR: _, ...inherited } = process.env
  const { stdout } = spawnSync("unshare", ["-m", "sh", "-c", script], {
    cwd: folder,
    encoding: "utf8",
    env: {
      ...inherited,
      NODE_OPTIONS: "",
      NO_COLOR: "1",
      DISK: disk,
      P: `${process.execPath} ${main}`,
      PIPELINE_CACHE: join(folder, "cache")
    }
  })
  const codes = stdout.trim().split("\n").map(Number)
  return commands.map((_, i) => ({ code: codes[i], out: readFileSync(join(folder, `${i}.txt`), "utf8") }))
}

const status = "$P query 'SELECT status FROM run ORDER BY id DESC LIMIT 1' --format csv | tail -1"

describe.skipIf(!canMount)("a full disk", () => {
  it("below the logs, filled by what an action prints, ends no work; the exit code says what was done", () => {
    const [well, recorded, fails, recordedFailure] = onDisk("64k", "cache/logs", [
      "$P run ./disk.ts --set chatter.lines=300",
      status,
      "$P run ./disk.ts --set chatter.lines=301 --set chatter.fails=true",
      status
    ])
    assert.strictEqual(well!.code, 0, well!.out)
    assert.strictEqual(recorded!.out, "done\n")
    assert.strictEqual(fails!.code, 1, fails!.out)
    assert.include(fails!.out, "as it was told")
    assert.strictEqual(recordedFailure!.out, "failed\n")
  })

  it(
    "gets room by the commands that the error names, though they have none, and loses nothing",
    { timeout: 180_000 },
    () => {
      // Until not even an empty file can be made.
      const fill = "head -c 99999999 /dev/zero >> $DISK/filler; stat -f -c %f $DISK"
      const room = "stat -f -c %f $DISK"
      const told = onDisk("30m", "cache", [
        "$P run ./disk.ts",
        "$P run ./disk.ts --set big.megabytes=5 --set big.keeps=true",
        `${fill} | grep -x 0`,
        "$P run ./disk.ts --set big.megabytes=3",
        "$P gc --checkpoints --apply",
        room,
        "$P gc --final-only --apply",
        `${fill} | grep -x 0`,
        "$P cache trash --empty",
        room,
        "$P run ./disk.ts --set big.megabytes=3",
        "$P cache verify",
        "$P run ./disk.ts"
      ])
      const codes = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      for (const [i, { code, out }] of told.entries()) assert.strictEqual(code, codes[i], `command ${i}: ${out}`)
      const out = (command: number) => told[command]!.out
      for (const command of ["pipeline gc --checkpoints --apply", "pipeline cache trash --empty"])
        assert.include(out(3), command)
      assert.isAbove(4096 * Number(out(5)), 4 * 2 ** 20)
      assert.include(out(6), "moved to the trash: 1 artifact")
      assert.isAbove(4096 * Number(out(9)), 3 * 2 ** 20)
      assert.include(out(11), "everything is sound")
      assert.include(out(12), "0 executed", "what the run came to was kept")
    }
  )
})
