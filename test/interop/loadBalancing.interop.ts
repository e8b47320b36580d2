/** The load-balancing loss beside that of transformers. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { forward, weightsOf } from "../../src/models/decoder.ts"
import { feedForwardOf } from "../../src/models/layers/layer.ts"
import { loadBalancingLoss } from "../../src/models/loadBalancing.ts"
import { parameterInputs } from "../../src/models/parameters.ts"
import { makeSession } from "../../src/sessions/session.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { input } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { configs, load, rows, theirs } from "./hybridModels.ts"
import { python } from "./python.ts"
import { all, farthest, tensorsOf } from "./tensors.ts"

it.live.each(Object.entries(configs).filter(([, { experts }]) => experts === true))(
  "%s: load-balancing losses of its rows",
  ([, tested]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const at = theirs(tested)
        const {
          config,
          engine,
          parameters: { specs, views }
        } = yield* load(at("f32"))
        const { expertsPerToken } = feedForwardOf(config.layers, "moe")
        const expected = yield* tensorsOf(at("causal.safetensors"))
        for (const [i, row] of rows.entries()) {
          const weights = weightsOf(config, parameterInputs(specs))
          const { routerLogits } = forward(config, weights, input("tokens", "i32", [1, row.length]), { causal: true })
          expect(routerLogits).toHaveLength(config.layers.length)
          const loss = loadBalancingLoss(routerLogits as readonly [Tensor], expertsPerToken)
          const { run } = yield* makeSession(engine, { loss }, views)
          const [found] = (yield* run({ tokens: Int32Array.from(row) })).loss
          expect(found).toBeCloseTo((yield* all(expected, `auxiliary/${i}`))[0]!, 4)
        }
        rmSync(at("."), { recursive: true })
      })
    )
)

it.live("the load-balancing loss and its gradients, with padding, are those of transformers", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const directory = mkdtempSync(join(tmpdir(), "interop-balance-"))
      const output = join(directory, "balance.safetensors")
      const [n, experts, topK] = [30, 7, 3]
      const layers = [0, 1, 2].map(layer => normals(randomKey(layer, "router"), n * experts))
      const counted = Array.from({ length: n }, (_, i) => Number(i % 5 !== 0))
      const asRows = (flat: Float32Array) =>
        Array.from({ length: n }, (_, i) => [...flat.subarray(i * experts, (i + 1) * experts)])
      python("qwen35.py", [{ action: "balance", logits: layers.map(asRows), topK, counted, output }])
      const logits = layers.map((_, i) => input(`l${i}`, "f32", [n, experts])) as unknown as readonly [Tensor]
      const loss = loadBalancingLoss(logits, topK, input("counted", "f32", [n]))
      const found = gradients(loss, logits)
      const { run } = yield* makeSession(
        yield* makeOrt({ threads: 1 }),
        { loss, ...Object.fromEntries(found.map((gradient, i) => [`gradient/${i}`, gradient])) },
        {}
      )
      const made: { readonly [name: string]: Float32Array } = yield* run({
        counted: Float32Array.from(counted),
        ...Object.fromEntries(layers.map((values, i) => [`l${i}`, values]))
      })
      const expected = yield* tensorsOf(output)
      for (const name of ["loss", "gradient/0", "gradient/1", "gradient/2"])
        expect(farthest(made[name]!, yield* all(expected, name)), name).toBeLessThan(1e-5)
      rmSync(directory, { recursive: true })
    })
  )
)
