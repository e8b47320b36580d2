/** The filter of system calls, run by a small interpreter of the kernel's packet filter: what it says to a call of each kind on each machine. */
import { assert, describe, it } from "vitest"
import { systemCallFilter } from "../../src/sandbox/systemCalls.ts"

/** What the filter answers, as seccomp(2) reads it. */
const answer = (
  filter: Uint8Array,
  call: { readonly nr: number; readonly arch: number; readonly argument?: number }
): number => {
  const data = Buffer.alloc(64)
  data.writeUInt32LE(call.nr >>> 0, 0)
  data.writeUInt32LE(call.arch >>> 0, 4)
  data.writeUInt32LE((call.argument ?? 0) >>> 0, 16)
  const code = Buffer.from(filter)
  let accumulator = 0
  for (let at = 0; at * 8 < code.length; at++) {
    const [op, yes, no, value] = [
      code.readUInt16LE(at * 8),
      code[at * 8 + 2]!,
      code[at * 8 + 3]!,
      code.readUInt32LE(at * 8 + 4)
    ]
    if (op === 0x20) accumulator = data.readUInt32LE(value)
    else if (op === 0x06) return value
    else {
      const holds =
        op === 0x15
          ? accumulator === value
          : op === 0x35
            ? accumulator >= value
            : op === 0x45
              ? (accumulator & value) !== 0
              : undefined
      if (holds === undefined) throw new Error(`instruction ${op}`)
      at += holds ? yes : no
    }
  }
  throw new Error("the filter has no end")
}

const [allow, refuse, unknown, kill] = [0x7fff0000, 0x00050001, 0x00050026, 0x80000000]
const thread = 0x003d0f00

describe.each([
  [
    "x64",
    {
      arch: 0xc000003e,
      read: 0,
      write: 1,
      execve: 59,
      socket: 41,
      socketpair: 53,
      ptrace: 101,
      clone: 56,
      mount: 165,
      unshare: 272
    }
  ],
  [
    "arm64",
    {
      arch: 0xc00000b7,
      read: 63,
      write: 64,
      execve: 221,
      socket: 198,
      socketpair: 199,
      ptrace: 117,
      clone: 220,
      mount: 40,
      unshare: 97
    }
  ]
] as const)("the filter of %s", (name, { arch, ...calls }) => {
  const filter = systemCallFilter(name)!

  it("lets a program read, write, and be started", () => {
    for (const call of ["read", "write", "execve", "socketpair"] as const)
      assert.strictEqual(answer(filter, { nr: calls[call], arch }), allow)
  })

  it("refuses sockets, tracing, mounts and namespaces", () => {
    for (const call of ["socket", "ptrace", "mount", "unshare"] as const)
      assert.strictEqual(answer(filter, { nr: calls[call], arch }), refuse)
  })

  it("allows threads, and no processes or namespaces by the same call", () => {
    assert.strictEqual(answer(filter, { nr: calls.clone, arch, argument: thread }), allow)
    for (const flags of [0, 17, 0x4111, 0x10000000, 0x20000 | 17])
      assert.strictEqual(answer(filter, { nr: calls.clone, arch, argument: flags }), refuse)
    assert.strictEqual(answer(filter, { nr: 435, arch }), unknown)
  })

  it("kills what calls as another machine does, and refuses the other convention of the same one", () => {
    assert.strictEqual(answer(filter, { nr: calls.read, arch: 0x40000003 }), kill)
    assert.strictEqual(answer(filter, { nr: 0x40000000 + calls.read, arch }), refuse)
  })
})

it("is not made for machines whose numbers are not known", () => {
  assert.isUndefined(systemCallFilter("riscv64"))
  assert.isUndefined(systemCallFilter("toString"))
})
