/** What this machine has, for the preflight: as `doctor` looks, and nothing is fetched or started but small programs. */
import { existsSync } from "node:fs"
import { freemem, totalmem } from "node:os"
import { Effect, Result } from "effect"
import { findPython } from "../engines/torch/python.ts"
import { hubConfig } from "../hub/config.ts"
import { heldBytes } from "../ledger/History.ts"
import type { Database } from "../ledger/Database.ts"
import type { Found, Gpu, Torch } from "../preflight/check.ts"
import { pathsOf, type CacheLocation } from "../runner/Cache.ts"
import { freeBytes } from "./verbs/checks/disk.ts"
import { listGpus, outputOf } from "./verbs/checks/machine.ts"

export interface Probed {
  readonly engine: string
  readonly location: CacheLocation
  /** Undefined where nothing was ever run. */
  readonly database: Database | undefined
  /** Names of the GPUs that may be used. */
  readonly gpus: ReadonlyArray<string>
}

export const probe = ({ database, engine, gpus: usable, location }: Probed): Effect.Effect<Found> =>
  Effect.gen(function* () {
    const path = pathsOf(location.root).root
    const [torch, listed, free, config] = yield* Effect.all(
      [torchOf, listGpus, freeBytes(path), Effect.result(hubConfig(process.env))],
      { concurrency: "unbounded" }
    )
    return {
      engine,
      torch,
      disk: free === undefined ? undefined : { path, free },
      held: label => (database === undefined ? 0 : heldBytes(database, label)),
      memory: { total: totalmem(), free: freemem() },
      gpus:
        listed
          ?.filter(({ index }) => usable.includes(index))
          .map(({ memory, name }) => ({ name, bytes: mebibytes(memory) })) ?? gpusOf(torch),
      token: Result.isSuccess(config) ? config.success.token !== undefined : undefined
    }
  })

/** Of `81559 MiB`. */
const mebibytes = (text: string): number => Number.parseInt(text, 10) * 2 ** 20

/** Where the driver's program is not there: those that PyTorch sees. */
const gpusOf = (torch: Torch | undefined): ReadonlyArray<Gpu> | undefined =>
  torch !== undefined && "gpus" in torch ? torch.gpus : existsSync("/dev/nvidia0") ? undefined : []

/** To import PyTorch from a cold disk takes a while. */
const patienceMs = 60_000

const look = `
import json, torch
devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "gpus": [{"name": d.name, "bytes": d.total_memory} for d in devices]}))`

export const torchOf: Effect.Effect<Torch> = Effect.suspend(() => {
  const python = findPython()
  return Effect.map(outputOf(python, ["-c", look], patienceMs), (answer): Torch => {
    // Before it, libraries may have said something.
    const last = answer?.split("\n").at(-1)
    return last?.startsWith("{") === true ? (JSON.parse(last) as Torch) : { missing: `${python} has none` }
  })
})
