/** The engine `torch` as a process: how it starts, reads files, fails, ends, and computes together with others. */
import { asStageError } from "../../src/pipeline/StageError.ts"
import { execFile, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { openTensors, saveTensors } from "../../src/formats/tensorFiles.ts"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { trainTiny } from "../support/tinyTraining.ts"
import { notedPid } from "../runner/processes.ts"
import { interpreterVariable } from "./python.ts"

const interpreter = process.env[interpreterVariable]!
const support = (name: string): string => join(import.meta.dirname, "../support", name)

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-torch-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** An interpreter that does something else before, or instead. */
const script = (lines: string): string => {
  const path = join(directory, "python")
  writeFileSync(path, `#!/bin/sh\n${lines}\n`, { mode: 0o755 })
  return path
}
const failureOf = (options: Parameters<typeof makeTorch>[0]) => Effect.flip(Effect.scoped(makeTorch(options)))
const messageOf = (options: Parameters<typeof makeTorch>[0]) => Effect.map(failureOf(options), ({ message }) => message)

describe("the process", () => {
  it.live("that cannot be started, has no PyTorch or no GPU is an error that says what to do", () =>
    Effect.gen(function* () {
      expect(yield* messageOf({ python: "/nowhere/python", device: "cpu" })).toMatch(
        /^\/nowhere\/python cannot be started: .*--python or PIPELINE_TORCH_PYTHON/
      )
      // An interpreter that sees no installed packages.
      const bare = script(`shift\nexec "${interpreter}" -I -S "$@"`)
      expect(yield* messageOf({ python: bare, device: "cpu" })).toMatch(/python has no PyTorch. Name an interpreter/)
      expect(yield* messageOf({ python: interpreter, device: "cuda" })).toMatch(/finds no GPU here/)
    })
  )

  it.live("of another version is refused", () =>
    Effect.gen(function* () {
      const header = '{"protocol": 1, "bytes": 0}'
      const frame = script(`printf '\\${header.length.toString(8)}\\0\\0\\0${header}'\nexec cat`)
      expect(yield* messageOf({ python: frame, device: "cpu" })).toMatch(/speaks version 1 of the protocol, we \d/)
    })
  )

  it.live("that ends by itself is reported with its last lines, as a crash that the runner tries again", () =>
    Effect.gen(function* () {
      const error = yield* failureOf({
        python: script("echo the first line >&2\necho the last line >&2\nexit 3"),
        device: "cpu"
      })
      expect(error.message).toMatch(/ended with code 3\n {2}the first line\n {2}the last line$/)
      expect(asStageError(error).class).toBe("crashed")
      expect(asStageError(yield* failureOf({ python: "/nowhere/python", device: "cpu" })).class).toBe("permanent")
    })
  )

  it.live("that is killed fails what waits, and what comes after", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const pid = join(directory, "pid")
        const engine = yield* makeTorch({
          python: script(`echo $$ > ${pid}\nexec "${interpreter}" "$@"`),
          device: "cpu"
        })
        yield* engine.allocate("f32", [3])
        process.kill(notedPid(pid)()!, "SIGKILL")
        const error = yield* Effect.flip(Effect.scoped(engine.allocate("f32", [3])))
        expect(error.message).toMatch(/was ended by SIGKILL/)
        expect(asStageError(error).class).toBe("crashed")
      })
    )
  )

  it("ends with whoever started it, also while it computes", { timeout: 60_000 }, async () => {
    const pid = join(directory, "pid")
    const python = script(`echo $$ > ${pid}\nexec "${interpreter}" "$@"`)
    const parent = spawn(process.execPath, [support("torchOrphan.ts"), python], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    await new Promise(resolve => parent.stdout.once("data", resolve))
    parent.kill("SIGKILL")
    const child = Number(readFileSync(pid, "utf8"))
    const alive = (): boolean => {
      try {
        // What ended and was not waited for is a zombie until somebody does.
        return !/^State:\s+Z/m.test(readFileSync(`/proc/${child}/status`, "utf8"))
      } catch {
        return false
      }
    }
    expect(alive()).toBe(true)
    while (alive()) await setTimeout(50)
  })
})

describe("weights", () => {
  const specs = [
    { name: "a", shape: [3, 5], initial: "zeros" },
    { name: "b", shape: [7], initial: "zeros" }
  ] as const
  const values = { a: normals(randomKey(1, "a"), 15), b: normals(randomKey(1, "b"), 7) }

  it.live("are read from their files by the process, in every format", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* makeTorch({ python: interpreter, device: "cpu" })
        for (const format of ["F32", "BF16", "F16"] as const) {
          const names = yield* saveTensors(
            name => Effect.succeed(join(directory, name)),
            specs.map(({ name, shape }) => ({ name, shape, floats: Effect.succeed(values[name]) })),
            { format }
          )
          const tensors = yield* openTensors(names.map(name => ({ name, path: join(directory, name) })))
          const views = {
            a: yield* engine.allocate("f32", [3, 5]),
            b: yield* engine.allocate("f32", [7])
          }
          yield* loadWeights(engine, { specs, views }, tensors)
          for (const name of ["a", "b"] as const) {
            const expected = yield* tensors.get(name)!.floats(0, values[name].length)
            expect(yield* engine.download(views[name])).toEqual(expected)
          }
          truncateSync(join(directory, names[0]!), Math.max(tensors.get("a")!.offset, tensors.get("b")!.offset) + 1)
          const error = yield* Effect.flip(loadWeights(engine, { specs, views }, tensors))
          expect(error.message).toMatch(/buffer|size/)
        }
      })
    )
  )
})

describe("two processes of torchrun", () => {
  it.live("come to the losses, gradients and parameters of one that computes all", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const torchrun = join(dirname(interpreter), "torchrun")
        expect(existsSync(torchrun)).toBe(true)
        yield* Effect.promise(() =>
          promisify(execFile)(
            torchrun,
            [
              "--standalone",
              "--nproc-per-node=2",
              "--no-python",
              process.execPath,
              support("tinyTrainingRank.ts"),
              interpreter,
              directory
            ],
            { env: { ...process.env, OMP_NUM_THREADS: "1" } }
          )
        )
        const ranks = readdirSync(directory)
          .sort()
          .map(name => JSON.parse(readFileSync(join(directory, name), "utf8")) as Rank)
        expect(ranks.map(({ size }) => size)).toEqual([2, 2])
        // Both have the same, and what one process with twice the rows has.
        const { size: _, ...first } = ranks[0]!
        expect(ranks[1]).toEqual({ size: 2, ...first })
        const engine = yield* makeTorch({ python: interpreter, device: "cpu", threads: 1 })
        const one = yield* trainTiny(engine, { steps: 3, microBatchRows: 4 })
        for (const name of ["losses", "norms", "gradients", "parameters"] as const) {
          expect(first[name]).toHaveLength(one[name].length)
          const largest = one[name].reduce((most, x) => Math.max(most, Math.abs(x)), 0)
          for (const [i, value] of one[name].entries())
            expect(Math.abs(first[name][i]! - value), `${name} ${i}`).toBeLessThan(2e-6 * largest)
        }
      })
    )
  )
})

type Rank = { readonly size: number } & Effect.Success<ReturnType<typeof trainTiny>>
