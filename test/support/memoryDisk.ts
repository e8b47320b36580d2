/**
 * A deterministic disk in memory that forgets, at a power cut, what was not synced: the strictest reading of POSIX that a store
 * must live with, apart from the atomicity of a rename, which journalling file systems keep.
 */
import { createHash } from "node:crypto"
import { basename, dirname } from "node:path"
import { Clock, Effect } from "effect"
import type { Appender, Disk, FileStat } from "../../src/store/Disk.ts"
import { StorageError } from "../../src/store/StorageError.ts"
import { below, seeded } from "./random.ts"

interface File {
  readonly kind: "file"
  readonly ino: bigint
  /** What programs see. */
  bytes: Uint8Array
  /** What a power cut leaves. */
  durable: Uint8Array
  dirty: boolean
  mode: number
  mtimeNs: bigint
  ctimeNs: bigint
}

interface Directory {
  readonly kind: "directory"
  readonly ino: bigint
  entries: Map<string, Inode>
  durable: Map<string, Inode>
  mode: number
  mtimeNs: bigint
  ctimeNs: bigint
}

type Inode = File | Directory

/** A change of names, done as a whole or not at all. Durable once one of its directories is synced. */
interface Change {
  readonly effects: ReadonlyArray<{
    readonly directory: Directory
    readonly name: string
    readonly inode: Inode | undefined
  }>
}

export interface Operation {
  /** Counted from 0 over the life of the disk. */
  readonly index: number
  /** Name of the method, as in Disk; `append.write` and `append.sync` for open files. */
  readonly name: string
  readonly path: string
}

export interface MemoryDiskOptions {
  /** Bytes of all files together; beyond, writes fail with ENOSPC, half done. */
  readonly capacity?: number
  /** Seed of the order in which concurrent fibers take turns; without it, a fiber runs until it waits. */
  readonly interleave?: number
  /** File system that a path belongs to; renames and links between two of them fail with EXDEV. */
  readonly device?: (path: string) => number
}

export interface MemoryDisk extends Disk {
  /** Decides before each operation whether it fails, and with which code. */
  failWith: ((operation: Operation) => string | undefined) | undefined
  /** From this operation on nothing happens any more, as if the machine had stopped; `powerCut` starts it again. */
  stopAt: number
  /** Every operation that was asked for, in order. */
  readonly log: ReadonlyArray<Operation>
  /** Forgets a random part of what was not synced, and starts the machine again. */
  readonly powerCut: (seed: number) => void
  /** Every file by its path. */
  readonly files: () => ReadonlyMap<string, Uint8Array>
  /** Changes bytes behind the back of the file system, as a failing disk does: no time changes. */
  readonly corrupt: (path: string, change: (bytes: Uint8Array) => Uint8Array) => void
}

/** The defect with which an operation on a stopped machine ends. */
export class MachineStopped extends Error {}

export const memoryDisk = (options: MemoryDiskOptions = {}): MemoryDisk => {
  let nextInode = 1n
  let ticks = 0n
  let stopped = false
  let unsynced: Array<Change> = []
  const log: Array<Operation> = []
  const turn = options.interleave === undefined ? undefined : seeded(options.interleave)

  const newDirectory = (now: bigint): Directory => ({
    kind: "directory",
    ino: nextInode++,
    entries: new Map(),
    durable: new Map(),
    mode: 0o755,
    mtimeNs: now,
    ctimeNs: now
  })
  const root = newDirectory(0n)

  const lookup = (path: string): Inode | undefined => {
    let inode: Inode = root
    for (const segment of path.split("/").filter(segment => segment !== "")) {
      if (inode.kind !== "directory") return undefined
      const next = inode.entries.get(segment)
      if (next === undefined) return undefined
      inode = next
    }
    return inode
  }

  const failure = (code: string, operation: string, path: string) =>
    new StorageError({ code, operation, path, detail: `simulated ${code}` })

  const change = (effects: Change["effects"]) => {
    for (const { directory, name, inode } of effects) {
      if (inode === undefined) directory.entries.delete(name)
      else directory.entries.set(name, inode)
    }
    unsynced.push({ effects })
  }

  /** Runs one operation: counted, perhaps refused, otherwise done at once. `work` throws a StorageError to fail. */
  const act = <A>(name: string, path: string, work: (now: bigint) => A): Effect.Effect<A, StorageError> => {
    const operate = Effect.flatMap(Clock.currentTimeMillis, millis =>
      Effect.suspend(() => {
        const operation = { index: log.length, name, path }
        if (stopped || operation.index >= disk.stopAt) {
          stopped = true
          return Effect.die(new MachineStopped())
        }
        log.push(operation)
        try {
          const code = disk.failWith?.(operation)
          if (code !== undefined) throw failure(code, name, path)
          // The counter keeps the order of events in the times, as nanoseconds do on a real disk.
          return Effect.succeed(work(BigInt(millis) * 1_000_000n + (ticks++ % 1_000_000n)))
        } catch (error) {
          return error instanceof StorageError ? Effect.fail(error) : Effect.die(error)
        }
      })
    )
    return Effect.suspend(() =>
      turn !== undefined && turn() < 0.5 ? Effect.andThen(Effect.yieldNow, operate) : operate
    )
  }

  const must = (name: string, path: string): Inode => {
    const inode = lookup(path)
    if (inode === undefined) throw failure("ENOENT", name, path)
    return inode
  }
  const mustFile = (name: string, path: string): File => {
    const inode = must(name, path)
    if (inode.kind !== "file") throw failure("EISDIR", name, path)
    return inode
  }
  const mustDirectory = (name: string, path: string): Directory => {
    const inode = must(name, path)
    if (inode.kind !== "directory") throw failure("ENOTDIR", name, path)
    return inode
  }

  const files = () => {
    const found = new Map<string, Uint8Array>()
    const walk = (directory: Directory, prefix: string) => {
      for (const [name, inode] of directory.entries) {
        if (inode.kind === "file") found.set(`${prefix}/${name}`, inode.bytes)
        else walk(inode, `${prefix}/${name}`)
      }
    }
    walk(root, "")
    return found
  }
  const namesOf = (inode: Inode): number => {
    if (inode.kind === "directory") return 2
    let names = 0
    const walk = (directory: Directory) => {
      for (const child of directory.entries.values()) {
        if (child === inode) names++
        else if (child.kind === "directory") walk(child)
      }
    }
    walk(root)
    return names
  }
  const free = () => {
    if (options.capacity === undefined) return Number.MAX_SAFE_INTEGER
    let used = 0
    for (const bytes of files().values()) used += bytes.length
    return options.capacity - used
  }

  const setBytes = (name: string, path: string, file: File, bytes: Uint8Array, now: bigint) => {
    const room = free() + file.bytes.length
    file.bytes = bytes.length <= room ? bytes : bytes.slice(0, Math.max(file.bytes.length, room))
    file.dirty = true
    file.mtimeNs = now
    file.ctimeNs = now
    if (bytes.length > room) throw failure("ENOSPC", name, path)
  }

  const create = (name: string, path: string, now: bigint): File => {
    const parent = mustDirectory(name, dirname(path))
    const file: File = {
      kind: "file",
      ino: nextInode++,
      bytes: new Uint8Array(),
      durable: new Uint8Array(),
      dirty: false,
      mode: 0o644,
      mtimeNs: now,
      ctimeNs: now
    }
    change([{ directory: parent, name: basename(path), inode: file }])
    return file
  }

  const openFile = (name: string, path: string, now: bigint): File => {
    const inode = lookup(path)
    if (inode === undefined) return create(name, path, now)
    if (inode.kind !== "file") throw failure("EISDIR", name, path)
    return inode
  }

  const device = (path: string) => options.device?.(path) ?? 1
  const sameDevice = (name: string, from: string, to: string) => {
    if (device(from) !== device(to)) throw failure("EXDEV", name, to)
  }

  const syncFile = (file: File) => {
    file.durable = file.bytes.slice()
    file.dirty = false
  }

  const commit = (done: Change) => {
    for (const { directory, name, inode } of done.effects) {
      if (inode === undefined) directory.durable.delete(name)
      else directory.durable.set(name, inode)
    }
  }

  const powerCut = (seed: number) => {
    const random = seeded(seed)
    // From a disk that lost all of it to one that happened to have written nearly everything.
    const kept = random()
    for (const one of unsynced) if (random() < kept) commit(one)
    unsynced = []
    const seen = new Set<Inode>()
    const settle = (inode: Inode) => {
      if (seen.has(inode)) return
      seen.add(inode)
      if (inode.kind === "directory") {
        inode.entries = new Map(inode.durable)
        for (const child of inode.entries.values()) settle(child)
        return
      }
      if (inode.dirty) inode.durable = torn(inode, random)
      inode.bytes = inode.durable.slice()
      inode.dirty = false
    }
    settle(root)
    stopped = false
    disk.stopAt = Number.POSITIVE_INFINITY
    disk.failWith = undefined
  }

  const disk: MemoryDisk = {
    failWith: undefined,
    stopAt: Number.POSITIVE_INFINITY,
    log,
    powerCut,
    files,
    corrupt: (path, alter) => {
      const file = mustFile("corrupt", path)
      file.bytes = alter(file.bytes.slice())
      file.durable = file.bytes.slice()
    },
    write: (path, content) =>
      act("write", path, now =>
        setBytes("write", path, openFile("write", path, now), new Uint8Array(Buffer.from(content)), now)
      ),
    append: (path, settings) =>
      act("append", path, now => {
        if (settings?.exclusive === true && lookup(path) !== undefined) throw failure("EEXIST", "append", path)
        const file = openFile("append", path, now)
        const appender: Appender = {
          write: bytes =>
            act("append.write", path, later =>
              setBytes("append.write", path, file, new Uint8Array(Buffer.concat([file.bytes, bytes])), later)
            ),
          sync: act("append.sync", path, () => syncFile(file)),
          close: Effect.void
        }
        return appender
      }),
    read: path => act("read", path, () => mustFile("read", path).bytes.slice()),
    readRange: (path, offset, length) =>
      act("readRange", path, () => mustFile("readRange", path).bytes.slice(offset, offset + length)),
    hash: path =>
      act("hash", path, () => {
        const { bytes } = mustFile("hash", path)
        return { sha256: createHash("sha256").update(bytes).digest("hex"), size: bytes.length }
      }),
    stat: path =>
      act("stat", path, (): FileStat => {
        const inode = must("stat", path)
        return {
          kind: inode.kind,
          size: inode.kind === "file" ? inode.bytes.length : 0,
          mtimeNs: inode.mtimeNs,
          ctimeNs: inode.ctimeNs,
          ino: inode.ino,
          dev: BigInt(device(path)),
          mode: inode.mode,
          get nlink() {
            return namesOf(inode)
          }
        }
      }),
    readdir: path =>
      act("readdir", path, () =>
        [...mustDirectory("readdir", path).entries].map(([name, inode]) => ({ name, kind: inode.kind }))
      ),
    mkdir: path =>
      act("mkdir", path, now => {
        let topmost: string | undefined
        let directory = root
        let walked = ""
        for (const segment of path.split("/").filter(segment => segment !== "")) {
          walked += `/${segment}`
          let next = directory.entries.get(segment)
          if (next === undefined) {
            next = newDirectory(now)
            change([{ directory, name: segment, inode: next }])
            topmost ??= walked
          }
          if (next.kind !== "directory") throw failure(lookup(path) === next ? "EEXIST" : "ENOTDIR", "mkdir", path)
          directory = next
        }
        return topmost
      }),
    rename: (from, to) =>
      act("rename", to, now => {
        const inode = must("rename", from)
        mustDirectory("rename", dirname(to))
        if (inode.kind === "directory" && `${to}/`.startsWith(`${from}/`) && to !== from)
          throw failure("EINVAL", "rename", to)
        const there = lookup(to)
        sameDevice("rename", from, to)
        if (there === inode) return
        if (there !== undefined && there.kind !== inode.kind) {
          throw failure(there.kind === "directory" ? "EISDIR" : "ENOTDIR", "rename", to)
        }
        if (there?.kind === "directory" && there.entries.size > 0) throw failure("ENOTEMPTY", "rename", to)
        inode.ctimeNs = now
        change([
          { directory: mustDirectory("rename", dirname(to)), name: basename(to), inode },
          { directory: mustDirectory("rename", dirname(from)), name: basename(from), inode: undefined }
        ])
      }),
    link: (from, to) =>
      act("link", to, now => {
        must("link", from)
        const parent = mustDirectory("link", dirname(to))
        const inode = mustFile("link", from)
        sameDevice("link", from, to)
        if (lookup(to) !== undefined) throw failure("EEXIST", "link", to)
        inode.ctimeNs = now
        change([{ directory: parent, name: basename(to), inode }])
      }),
    copy: (from, to) =>
      act("copy", to, now => {
        const source = mustFile("copy", from)
        mustDirectory("copy", dirname(to))
        const copy = openFile("copy", to, now)
        copy.mode = source.mode
        setBytes("copy", to, copy, source.bytes.slice(), now)
      }),
    unlink: path =>
      act("unlink", path, () => {
        mustFile("unlink", path)
        change([{ directory: mustDirectory("unlink", dirname(path)), name: basename(path), inode: undefined }])
      }),
    rmdir: path =>
      act("rmdir", path, () => {
        if (mustDirectory("rmdir", path).entries.size > 0) throw failure("ENOTEMPTY", "rmdir", path)
        change([{ directory: mustDirectory("rmdir", dirname(path)), name: basename(path), inode: undefined }])
      }),
    chmod: (path, mode) =>
      act("chmod", path, now => {
        const inode = must("chmod", path)
        inode.mode = mode
        inode.ctimeNs = now
      }),
    syncFile: path => act("syncFile", path, () => syncFile(mustFile("syncFile", path))),
    syncDirectory: path =>
      act("syncDirectory", path, () => {
        const directory = mustDirectory("syncDirectory", path)
        const touches = (one: Change) => one.effects.some(effect => effect.directory === directory)
        for (const one of unsynced) if (touches(one)) commit(one)
        unsynced = unsynced.filter(one => !touches(one))
      }),
    free: path =>
      act("free", path, () => {
        must("free", path)
        return Math.max(0, free())
      })
  }
  return disk
}

/** What may be on the disk of bytes that were written but not synced: all, none, a beginning, or the right size with a hole. */
const torn = (file: File, random: () => number): Uint8Array => {
  switch (below(random, 4)) {
    case 0:
      return file.bytes.slice()
    case 1:
      return file.durable
    case 2:
      return file.bytes.slice(0, below(random, file.bytes.length + 1))
    default: {
      const holed = file.bytes.slice()
      holed.fill(0, below(random, file.bytes.length + 1))
      return holed
    }
  }
}
