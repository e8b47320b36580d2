/**
 * The filter of system calls that a sandboxed program runs under, as a program of the kernel's packet filter (seccomp(2), bpf(4)). It refuses new processes, sockets of any kind and what gives a
 * program more of the kernel than a computation needs. Namespaces already take away what most of these calls could reach: the filter stands before them.
 */

/** Numbers of an architecture, from its `unistd.h`. */
interface Architecture {
  /** `AUDIT_ARCH_…`. */
  readonly audit: number
  readonly clone: number
  readonly clone3: number
  readonly refused: ReadonlyArray<number>
  /** Numbers from here on are of another calling convention of the same machine, and refused. */
  readonly end: number
}

const architectures: { readonly [arch: string]: Architecture } = {
  x64: {
    audit: 0xc000003e,
    clone: 56,
    clone3: 435,
    refused: [
      // fork, vfork
      57, 58,
      // socket
      41,
      // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd
      101, 310, 311, 438,
      // mount, umount2, pivot_root, chroot, unshare, setns
      165, 166, 155, 161, 272, 308,
      // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
      428, 429, 430, 431, 432, 433, 442,
      // add_key, request_key, keyctl
      248, 249, 250,
      // bpf, perf_event_open, userfaultfd, io_uring_setup, io_uring_enter, io_uring_register
      321, 298, 323, 425, 426, 427,
      // kexec_load, kexec_file_load, init_module, delete_module, finit_module
      246, 320, 175, 176, 313,
      // modify_ldt, personality
      154, 135
    ],
    end: 0x40000000
  },
  arm64: {
    audit: 0xc00000b7,
    clone: 220,
    clone3: 435,
    refused: [
      // socket
      198,
      // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd
      117, 270, 271, 438,
      // mount, umount2, pivot_root, chroot, unshare, setns
      40, 39, 41, 51, 97, 268,
      // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
      428, 429, 430, 431, 432, 433, 442,
      // add_key, request_key, keyctl
      217, 218, 219,
      // bpf, perf_event_open, userfaultfd, io_uring_setup, io_uring_enter, io_uring_register
      280, 241, 282, 425, 426, 427,
      // kexec_load, kexec_file_load, init_module, delete_module, finit_module
      104, 294, 105, 106, 273,
      // personality
      92
    ],
    end: 0x40000000
  }
}

/** Instructions: BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_JMP|JSET|K, BPF_RET|K. */
const [load, equal, atLeast, anyBit, give] = [0x20, 0x15, 0x35, 0x45, 0x06]

/** Where `struct seccomp_data` has the number of the call, the architecture, and the lower half of the first argument. */
const [callAt, architectureAt, argumentAt] = [0, 4, 16]

const allow = 0x7fff0000
/** `SECCOMP_RET_ERRNO` with EPERM, and with ENOSYS. */
const [refuse, unknown] = [0x00050001, 0x00050026]
const killProcess = 0x80000000

const cloneThread = 0x00010000

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number]

/** The filter for a machine, as `process.arch` names it; undefined for one whose numbers are not known here. */
export const systemCallFilter = (arch: string): Uint8Array | undefined => {
  const machine = Object.hasOwn(architectures, arch) ? architectures[arch] : undefined
  if (machine === undefined) return undefined
  const { audit, clone, clone3, end, refused } = machine
  const instructions: ReadonlyArray<Instruction> = [
    [load, 0, 0, architectureAt],
    [equal, 1, 0, audit],
    [give, 0, 0, killProcess],
    [load, 0, 0, callAt],
    [atLeast, 0, 1, end],
    [give, 0, 0, refuse],
    ...refused.flatMap((call): ReadonlyArray<Instruction> => [
      [equal, 0, 1, call],
      [give, 0, 0, refuse]
    ]),
    // The C library then asks by `clone`, whose flags can be looked at.
    [equal, 0, 1, clone3],
    [give, 0, 0, unknown],
    [equal, 0, 3, clone],
    [load, 0, 0, argumentAt],
    // A thread of the same process, and nothing else.
    [anyBit, 1, 0, cloneThread],
    [give, 0, 0, refuse],
    [give, 0, 0, allow]
  ]
  const bytes = Buffer.alloc(instructions.length * 8)
  for (const [i, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    bytes.writeUInt16LE(code, i * 8)
    bytes.writeUInt8(ifTrue, i * 8 + 2)
    bytes.writeUInt8(ifFalse, i * 8 + 3)
    bytes.writeUInt32LE(value >>> 0, i * 8 + 4)
  }
  return bytes
}
