/**
 * A layer of Qwen3.6-27B at its real widths, forward and backward in f32: time, and the most memory that the process held.
 *
 *     node bench/layer.ts --kind gated_delta_net|attention [--tokens N] [--threads N]
 *
 * One kind a run, so that the memory is its own.
 */
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
import { qwen36 } from "./models.ts"

const { values: flags } = parseArgs({
  options: {
    kind: { type: "string", default: "gated_delta_net" },
    tokens: { type: "string", default: "128" },
    threads: { type: "string", default: "2" }
  }
})
const tokens = Number(flags.tokens)
const kind = qwen36.layers.find(({ mixer }) => mixer.kind === flags.kind)
if (kind === undefined) throw new Error(`there is no layer of the kind ${flags.kind}`)

const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const begun = performance.now()
    yield* effect
    return ((performance.now() - begun) / 1000).toFixed(2)
  })

const measured = Effect.gen(function* () {
  const engine = yield* makeOrt({ threads: Number(flags.threads) })
  const { make, specs } = makeLayer(kind, qwen36.hiddenSize, dense(qwen36.initializerRange))
  const weights = yield* allocateParameters(engine, specs)
  const block = normals(randomKey(1, "bench/layer"), 2 ** 20)
  for (const { initial, name, shape } of specs) {
    const scale = typeof initial === "object" && "normal" in initial ? initial.normal : 0.1
    const values = new Float32Array(elements(shape))
    for (let at = 0; at < values.length; at += block.length) values.set(block.subarray(0, values.length - at), at)
    yield* engine.upload(
      weights.views[name]!,
      values.map(x => x * scale)
    )
  }
  const parameter = parameterInputs(specs)
  const shape = [1, tokens, qwen36.hiddenSize]
  const data = inputsOf({ x: { dtype: "f32", shape }, dy: { dtype: "f32", shape } })
  const y = make(parameter)(layerContext(qwen36, tokens, "f32", { causal: true }))(data("x"))
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
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(2)
  const parameters = countElements(specs)
  console.log(
    `${flags.kind}: ${parameters} parameters, ${gib(4 * parameters)} GiB; ${tokens} tokens: forward ${ahead} s, forward and backward ${back} s; peak ${gib(process.resourceUsage().maxRSS * 1024)} GiB`
  )
})
await Effect.runPromise(Effect.scoped(measured))
