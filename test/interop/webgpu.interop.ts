/** The engine `webgpu` on a GPU in software. */
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { makeOrt, startOrt, type StartedOrt } from "../../src/engines/ort/ort.ts"
import { findAdapter } from "../../src/engines/ort/adapter.ts"
import { matmulPeak } from "../../src/engines/matmulPeak.ts"
import type { Transfers } from "../../src/engines/ort/protocol.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { conformanceSuite } from "../engines/conformanceSuite.ts"
import { lifecycleSuite } from "../engines/lifecycleSuite.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { program } from "../support/program.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { trainTiny } from "../support/tinyTraining.ts"
import { vulkanVariable } from "./vulkan.ts"

let started: StartedOrt
const scope = Effect.runSync(Scope.make())
const make = () => Effect.sync(() => started.engine)

const difference = (after: Transfers, before: Transfers): Transfers => ({
  uploads: after.uploads - before.uploads,
  uploadedBytes: after.uploadedBytes - before.uploadedBytes,
  downloads: after.downloads - before.downloads,
  downloadedBytes: after.downloadedBytes - before.downloadedBytes,
  partlyOnProcessor: after.partlyOnProcessor - before.partlyOnProcessor
})

const relativeL2 = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>): number =>
  Math.hypot(...ours.map((value, i) => value - theirs[i]!)) / Math.hypot(...theirs)

describe.skipIf(process.env[vulkanVariable] === undefined)("webgpu", () => {
  beforeAll(async () => {
    started = await Effect.runPromise(
      Effect.provideService(startOrt({ device: "webgpu", threads: 1 }), Scope.Scope, scope)
    )
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  conformanceSuite("webgpu", make, { ieee: false })
  lifecycleSuite("webgpu", make)

  it.live("is one in a process at a time", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(Effect.scoped(makeOrt({ device: "webgpu" })))
      expect(message).toMatch(/another engine of this process has the device/)
    })
  )

  it.live("tells on which device it computes, and how fast once that is done", () =>
    Effect.gen(function* () {
      expect(yield* findAdapter).toMatch(/^SwiftShader Device/)
      const { perSecond, right } = yield* matmulPeak(started.engine)
      expect(right).toBe(true)
      // What a run has only asked for would look a thousand times as fast as any of these processors.
      expect(perSecond).toBeLessThan(1e12)
    })
  )

  it.live("cuts and joins buffers on the device: a view costs no transfer", () =>
    Effect.gen(function* () {
      const { engine, transfers } = started
      const program = makeProgram({ y: ops.mul(ops.input("x", "f32", [300]), 2) })
      const pairs = makeProgram({ y: ops.add(ops.input("x", "f32", [3]), 1) })
      const whole = yield* engine.compile(program)
      const part = yield* engine.compile(pairs)
      const flat = yield* engine.allocate("f32", [300])
      yield* engine.upload(
        flat,
        Float32Array.from({ length: 300 }, (_, i) => i)
      )
      const before = yield* transfers
      for (let start = 0; start < 300; start += 3) {
        const view = yield* engine.view(flat, start, [3])
        yield* engine.run([yield* engine.bind(part, { x: view }, { y: view })])
      }
      yield* engine.run([yield* engine.bind(whole, { x: flat }, { y: flat })])
      expect(difference(yield* transfers, before)).toMatchObject({ uploads: 0, downloads: 0, partlyOnProcessor: 0 })
      const values = [...(yield* engine.download(flat))].map(Number)
      expect(values).toEqual(Array.from({ length: 300 }, (_, i) => 2 * (i + 1)))
    })
  )

  it.live(
    "trains to the losses, gradients and parameters of ort; only batches go there, only losses and norms come back",
    () =>
      Effect.gen(function* () {
        const { engine, transfers } = started
        const settings = { microBatchRows: 2 }
        const spent: Array<Transfers> = []
        for (const steps of [2, 3, 4]) {
          const before = yield* transfers
          yield* trainTiny(engine, { ...settings, steps })
          spent.push(difference(yield* transfers, before))
        }
        const theirs = yield* Effect.scoped(
          Effect.flatMap(makeOrt({ threads: 1 }), ort => trainTiny(ort, { ...settings, steps: 30 }))
        )
        const before = yield* transfers
        const ours = yield* trainTiny(engine, { ...settings, steps: 30 })
        const all = difference(yield* transfers, before)

        expect(theirs.losses.at(-1)!).toBeLessThan(theirs.losses[0]! - 0.3)
        for (const [i, loss] of theirs.losses.entries())
          expect(Math.abs(ours.losses[i]! / loss - 1), `step ${i}`).toBeLessThan(2e-6)
        expect(relativeL2(ours.gradients, theirs.gradients)).toBeLessThan(1e-4)
        expect(relativeL2(ours.parameters, theirs.parameters)).toBeLessThan(1e-5)

        // A step costs the same each time: nothing that was computed waits to be fetched, and no model has a part on the processor.
        const step = difference(spent[1]!, spent[0]!)
        expect(difference(spent[2]!, spent[1]!)).toEqual(step)
        expect(all.uploadedBytes).toBe(spent[0]!.uploadedBytes + 28 * step.uploadedBytes)
        expect(all.partlyOnProcessor).toBe(0)
        // The parameters, their two moments and their gradients have as many bytes each.
        const bytes = 4 * ours.parameters.length
        expect(step.uploadedBytes).toBeLessThan(bytes / 10)
        expect(step.downloadedBytes).toBeLessThan(bytes / 100)
      })
  )

  it("generates the text of ort, from the command line", async () => {
    const house = new MaintenanceFolder()
    try {
      await writeTinyModel(join(house.path, "tiny"))
      const environment = {
        LD_LIBRARY_PATH: process.env["LD_LIBRARY_PATH"]!,
        VK_DRIVER_FILES: process.env["VK_DRIVER_FILES"]!
      }
      const textOf = async (engine: string, mode: string) => {
        const flags = ["--engine", engine, "--mode", mode, "-m", "tiny", "-n", "12", "-t", "0", "--json"]
        const { code, stderr, stdout } = await program(["generate", ...flags, "The people"], {
          cwd: house.path,
          environment
        })
        expect(code, stderr).toBe(0)
        return (JSON.parse(stdout) as { readonly texts: ReadonlyArray<{ readonly tokens: unknown }> }).texts[0]!.tokens
      }
      for (const mode of ["ar", "diffusion"]) expect(await textOf("webgpu", mode)).toEqual(await textOf("ort", mode))
    } finally {
      house.remove()
    }
  })
})
