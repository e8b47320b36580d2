/**
 * A layer of Qwen3.6-27B, or one with the experts of Qwen3.5-35B-A3B, at its real widths, forward and backward in f32: time, and the most memory that the process held.
 *
 *     node bench/layer.ts --kind gated_delta_net|attention|moe [--tokens N] [--threads N]
 *
 * One kind a run, so that the memory is its own. Writes bench/results/layer.json, where other kinds stay as they were.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { availableParallelism, cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { makeOrt } from "../src/engines/ort/ort.ts"
import { layerContext } from "../src/models/decoder.ts"
import { makeLayer } from "../src/models/layers/layer.ts"
import { dense } from "../src/models/linear/linear.ts"
import { allocateParameters, countElements, parameterInputs } from "../src/models/parameters.ts"
import { inputsOf, makeSession } from "../src/sessions/session.ts"
import { vjp } from "../src/tensor/autodiff.ts"
import { normals, randomKey } from "../src/tensor/random.ts"
import { elements } from "../src/tensor/Tensor.ts"
import { qwen35Moe, qwen36 } from "./models.ts"

const { values: flags } = parseArgs({
  options: {
    kind: { type: "string", default: "gated_delta_net" },
    tokens: { type: "string", default: "128" },
    threads: { type: "string", default: "2" }
  }
})
const tokens = Number(flags.tokens)
const config = flags.kind === "moe" ? qwen35Moe : qwen36
const kind = config.layers.find(({ feedForward, mixer }) =>
  [mixer.kind, feedForward.kind].includes(flags.kind as "moe")
)
if (kind === undefined) throw new Error(`there is no layer of the kind ${flags.kind}`)

const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const begun = performance.now()
    yield* effect
    return (performance.now() - begun) / 1000
  })

const measured = Effect.gen(function* () {
  const engine = yield* makeOrt({ threads: Number(flags.threads) })
  const { make, specs } = makeLayer(kind, {
    hiddenSize: config.hiddenSize,
    linear: dense(config.initializerRange),
    deviation: config.initializerRange
  })
  const weights = yield* allocateParameters(engine, specs)
  const block = normals(randomKey(1, "bench/layer"), 2 ** 20)
  for (const { initial, name, shape } of specs) {
    const scale = typeof initial === "object" && "normal" in initial ? initial.normal : 0.1
    const values = block.map(x => x * scale)
    // Piece by piece, so that the memory which is measured is that of the layer.
    for (let at = 0; at < elements(shape); at += block.length) {
      const size = Math.min(block.length, elements(shape) - at)
      yield* engine.upload(yield* engine.view(weights.views[name]!, at, [size]), values.subarray(0, size))
    }
  }
  const parameter = parameterInputs(specs)
  const shape = [1, tokens, config.hiddenSize]
  const data = inputsOf({ x: { dtype: "f32", shape }, dy: { dtype: "f32", shape } })
  const y = make(parameter)(layerContext(config, tokens, "f32", { causal: true }))(data("x"))
  const [dx, ...ofWeights] = vjp([y], [data("dy")], [data("x"), ...specs.map(({ name }) => parameter(name))])
  const given = { x: normals(randomKey(2, "x"), elements(shape)), dy: normals(randomKey(3, "dy"), elements(shape)) }
  const forward = yield* makeSession(engine, { y }, weights.views)
  yield* forward.upload(given)
  yield* forward.compute()
  const ahead = yield* timed(forward.compute())
  const both = yield* makeSession(
    engine,
    { y, dx: dx!, ...Object.fromEntries(specs.map(({ name }, i) => [`gradient/${name}`, ofWeights[i]!])) },
    weights.views
  )
  yield* both.upload(given)
  yield* both.compute()
  const back = yield* timed(both.compute())
  const parameters = countElements(specs)
  const [weightsGiB, peakGiB] = [(4 * parameters) / 2 ** 30, process.resourceUsage().maxRSS / 2 ** 20]
  console.log(
    `${flags.kind}: ${parameters} parameters, ${weightsGiB.toFixed(2)} GiB; ${tokens} tokens: forward ${ahead.toFixed(2)} s, forward and backward ${back.toFixed(2)} s; peak ${peakGiB.toFixed(2)} GiB`
  )
  const file = join(import.meta.dirname, "results/layer.json")
  const earlier = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as object) : {}
  const machine = { processor: cpus()[0]?.model, threads: Math.min(Number(flags.threads), availableParallelism()) }
  const date = new Date().toISOString().slice(0, 10)
  const found = {
    date,
    machine,
    tokens,
    parameters,
    weightsGiB,
    forwardSeconds: ahead,
    bothSeconds: back,
    peakGiB
  }
  writeFileSync(file, `${JSON.stringify({ ...earlier, [flags.kind]: found }, null, 2)}\n`)
})
await Effect.runPromise(Effect.scoped(measured))
