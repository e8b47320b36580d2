/** Processors, memory, GPUs and the program itself. */
import { execFile } from "node:child_process"
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from "node:os"
import { Effect } from "effect"
import { bytes } from "../../../pipeline/units.ts"
import { capacity } from "../../../runner/Machine.ts"
import { dist, programVersion, root } from "../../home.ts"
import { type Check, type Finding, ok, warning } from "./Check.ts"

/** The embedded profile trains with this much at ease. */
const comfortableMemory = 4e9

export const machine: Check = {
  name: "machine",
  run: () =>
    Effect.sync(() => {
      const model = cpus()[0]?.model.trim() ?? "unknown processor"
      const memory = `${bytes(totalmem())}, ${bytes(freemem())} of it free`
      return [
        ok("processor", `${model}, ${availableParallelism()} cores (${platform()} ${release()}, ${arch()})`),
        totalmem() < comfortableMemory
          ? warning(
              "memory",
              memory,
              `actions may be killed for memory below ${bytes(comfortableMemory)}; use --jobs 1`
            )
          : ok("memory", memory)
      ]
    })
}

export const program: Check = {
  name: "program",
  run: () =>
    Effect.sync(() => [
      ok(
        "program",
        `dllm-pipeline ${programVersion()} in ${root}${dist === undefined ? ", run from its sources" : ""}`
      ),
      ok("node", `${process.version} (${process.execPath})`)
    ])
}

/** The standard output of a program, or undefined if it is not there or does not answer. */
export const outputOf = (
  file: string,
  args: ReadonlyArray<string>,
  patienceMs = 5000
): Effect.Effect<string | undefined> =>
  Effect.callback(resume => {
    const child = execFile(file, args, { timeout: patienceMs }, (error, stdout, stderr) => {
      // Some programs tell their version on stderr.
      resume(Effect.succeed(error === null ? (stdout.trim() === "" ? stderr : stdout).trim() : undefined))
    })
    return Effect.sync(() => void child.kill())
  })

/** A GPU as the driver lists it. */
export interface ListedGpu {
  readonly index: string
  readonly name: string
  /** As in `81559 MiB`. */
  readonly memory: string
  readonly driver: string
}

/** The GPUs of NVIDIA's driver; undefined where there is none that answers. */
export const listGpus: Effect.Effect<ReadonlyArray<ListedGpu> | undefined> = Effect.map(
  outputOf("nvidia-smi", ["--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader"]),
  listed => {
    if (listed === undefined || listed === "") return undefined
    return listed.split("\n").map(line => {
      const [index, name, memory, driver] = line.split(",").map(part => part.trim()) as [string, string, string, string]
      return { index, name, memory, driver }
    })
  }
)

export const gpus: Check = {
  name: "gpus",
  run: () =>
    Effect.gen(function* () {
      const listed = yield* listGpus
      const usable = capacity().gpus
      if (listed === undefined) {
        return [
          usable.length === 0
            ? ok("gpu", "none found; the embedded profiles need none")
            : warning(
                "gpu",
                `${usable.join(", ")} by CUDA_VISIBLE_DEVICES, but nvidia-smi does not list them`,
                "check the driver"
              )
        ]
      }
      return listed.map(({ driver, index, memory, name }): Finding => {
        const used = usable.includes(index) ? "" : ", not in CUDA_VISIBLE_DEVICES"
        return ok(`gpu ${index}`, `${name}, ${memory}, driver ${driver}${used}`)
      })
    })
}
