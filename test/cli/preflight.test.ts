/** The preflight of `pipeline run`, and the bill of `pipeline plan`. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { afterEach, assert, beforeEach, describe, it, vi } from "vitest"
import { Exit } from "../../src/cli/failure.ts"
import { preflight } from "../../src/cli/preflight.ts"
import { billLines } from "../../src/cli/text/billText.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import type { Found } from "../../src/preflight/check.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { bill, enough } from "../support/preflights.ts"
import { program } from "../support/program.ts"

process.env["NO_COLOR"] = "1"

let house: MaintenanceFolder
beforeEach(() => {
  house = new MaintenanceFolder()
})
afterEach(() => {
  vi.restoreAllMocks()
  house.remove()
})

/** The exit code (undefined: the run goes on), and what was said. */
const flown = async (found: Partial<Found>, skip = false) => {
  const said: Array<string> = []
  vi.spyOn(process.stderr, "write").mockImplementation(text => said.push(String(text)) > 0)
  let looked = false
  const look = () =>
    Effect.sync(() => {
      looked = true
      return { ...enough, ...found }
    })
  const wanted = { bill, engine: "torch", gpus: [], json: false, location: { root: house.cache, layers: [] }, skip }
  const ended = await Effect.runPromise(
    Effect.match(preflight(wanted, look), {
      onFailure: error => (error instanceof Exit ? error.code : error),
      onSuccess: () => undefined
    })
  )
  return { ended, said: said.join(""), looked }
}

describe("a preflight before a run", () => {
  it("shows what was found and needed, and lets the run go on", async () => {
    const { ended, said } = await flown({})
    assert.isUndefined(ended)
    assert.match(said, /found +needed\n/)
    assert.match(said, /ok +GPU memory +48\.0 GB on L40S +31\.0 GB/)
  })

  it("ends with exit code 2 and all that lacks where something does", async () => {
    const { ended, said } = await flown({ disk: { path: "/", free: 1 }, gpus: [], engine: "ort" })
    assert.strictEqual(ended, 2)
    for (const name of ["engine", "disk", "GPU memory"])
      assert.match(said, new RegExp(`lacking +${name}.*\\n +→ `), name)
    assert.match(said, /nothing was started; --no-preflight goes on without looking/)
  })

  it("is left out where that is asked for, which is said", async () => {
    const { ended, looked, said } = await flown({ gpus: [] }, true)
    assert.isUndefined(ended)
    assert.isFalse(looked)
    assert.match(said, /^warning: --no-preflight: /)
  })
})

/** Nothing is asked for over the network, and there is no PyTorch. */
const environment = { HF_HUB_OFFLINE: "1", HF_HOME: "/nonexistent", PIPELINE_TORCH_PYTHON: "/nowhere/python" }
const large = ["d3llm-27b", "--profile", "qwen3.6-27b"]

describe("pipeline run of a large profile", () => {
  it("ends before anything is asked for, fetched or made", async () => {
    const { code, stderr, stdout } = await program(["run", ...large], { cwd: house.path, environment })
    assert.strictEqual(code, 2, stderr)
    assert.match(stderr, /lacking +engine +ort +torch/)
    assert.match(stderr, /lacking +PyTorch +\/nowhere\/python has none/)
    assert.match(stderr, /warning +revision +models\/Qwen\/Qwen3\.6-27B@main/)
    assert.strictEqual(stdout, "")
    assert.isFalse(existsSync(join(house.path, "cache")))
  })

  it("prints the same as JSON", async () => {
    const { code, stdout } = await program(["run", ...large, "--json"], { cwd: house.path, environment })
    assert.strictEqual(code, 2)
    const { lacking, lines, type } = JSON.parse(stdout) as {
      readonly type: string
      readonly lacking: boolean
      readonly lines: ReadonlyArray<{ readonly name: string; readonly verdict: string }>
    }
    assert.deepStrictEqual([type, lacking], ["preflight", true])
    assert.include(
      lines.filter(({ verdict }) => verdict === "lacking").map(({ name }) => name),
      "engine"
    )
  })

  it("goes on without looking with --no-preflight", async () => {
    const { code, stderr } = await program(["run", ...large, "--no-preflight"], { cwd: house.path, environment })
    assert.strictEqual(code, 1)
    assert.match(stderr, /^warning: --no-preflight/)
    assert.match(stderr, /HF_HUB_OFFLINE is set/)
  })

  it("is not kept from running what needs no more than a small profile", async () => {
    const ended = await program(["run", "d3llm-27b", "--only", "tokenize/held-out"], { cwd: house.path, environment })
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.notMatch(ended.stderr, /needed/)
  })
})

describe("pipeline plan of a large profile", () => {
  it("shows the bill without network, and why nodes are not known", async () => {
    const { code, stderr, stdout } = await program(["plan", ...large], { cwd: house.path, environment })
    assert.strictEqual(code, 0, stderr)
    assert.match(stdout, /unknown +download-model +.*HF_HUB_OFFLINE is set/)
    assert.match(stdout, /55\.6 GB +to fetch/)
    assert.match(stdout, /12\.6 GB +weights in NF4/)
    assert.match(stdout, /time: not measured on this kind of device/)
  })

  it("has it in JSON, with sums", async () => {
    const { stdout } = await program(["plan", ...large, "--json", "--set", "train.adapter.r=64"], {
      cwd: house.path,
      environment
    })
    const { bill: shown } = JSON.parse(stdout) as {
      readonly bill: { readonly hours: null; readonly totals: { readonly gpuMemory: number; readonly fetch: number } }
    }
    assert.isNull(shown.hours)
    assert.closeTo(shown.totals.fetch, 55.6e9, 0.1e9)
    // Sixteen times the adapters of rank 4, which take 0.47 GB with gradients and moments.
    assert.closeTo(shown.totals.gpuMemory, 38.5e9, 0.3e9)
  })

  it("says hours where rates were measured", () => {
    assert.include(billLines({ ...bill, hours: 2.5 }, styleOf(process.stdout)).join("\n"), "time: about 2 h 30 min")
  })
})
