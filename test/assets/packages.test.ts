import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openPackage, tarballName } from "../../src/corpora/packages.ts"

const name = "@scope/a-package"
const version = "1.2.3"
let directory = ""
let sha256 = ""

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "packages-"))
  mkdirSync(join(directory, "package/data"), { recursive: true })
  writeFileSync(join(directory, "package/LICENSE"), "free")
  writeFileSync(join(directory, "package/data/empty.txt"), "")
  writeFileSync(join(directory, "package/data/exactly.bin"), Buffer.alloc(1024, 7))
  writeFileSync(join(directory, "package/data/more.bin"), Buffer.alloc(1025, 8))
  const tarball = join(directory, tarballName({ name, version, sha256 }))
  execFileSync("tar", ["--create", "--gzip", "--file", tarball, "--directory", directory, "package"])
  sha256 = createHash("sha256").update(readFileSync(tarball)).digest("hex")
})

afterAll(() => rmSync(directory, { recursive: true }))

describe("openPackage", () => {
  it("gives the files of a tarball by their paths, and its integrity", async () => {
    const { files, integrity } = await openPackage({ name, version, sha256 }, directory)
    expect([...files.keys()].sort()).toEqual(["LICENSE", "data/empty.txt", "data/exactly.bin", "data/more.bin"])
    expect(files.get("LICENSE")?.toString()).toBe("free")
    expect(files.get("data/empty.txt")).toHaveLength(0)
    expect(files.get("data/exactly.bin")).toEqual(Buffer.alloc(1024, 7))
    expect(files.get("data/more.bin")).toEqual(Buffer.alloc(1025, 8))
    expect(integrity).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/)
  })

  it("refuses a tarball with other bytes than were pinned", async () => {
    await expect(openPackage({ name, version, sha256: "0".repeat(64) }, directory)).rejects.toThrow(
      `scope-a-package-1.2.3.tgz has the SHA-256 ${sha256}, expected ${"0".repeat(64)}`
    )
  })
})
