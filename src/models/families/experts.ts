/** The weights of experts in checkpoints that hold those of each by themselves, as two tensors for all of a layer. */
import { Effect } from "effect"
import { joinedTensors } from "../../formats/joinedTensors.ts"
import { shorten } from "../../formats/safetensors.ts"
import type { StoredTensor, StoredTensors } from "../../formats/tensorFiles.ts"
import { visible } from "../../pipeline/Problem.ts"
import { sameShape } from "../../tensor/shape.ts"
import { shapeText } from "../../tensor/Tensor.ts"
import { ModelConfigError } from "../config.ts"

/** One expert's: those of the gate [I, d], what it multiplies [I, d], and back [d, I]. */
const separate = /^(.*\.mlp\.experts)\.(\d+)\.((?:gate|up|down)_proj)\.weight$/

/** What stands in each tensor for all experts, of one expert after the other. */
const stacks = { gate_up_proj: ["gate_proj", "up_proj"], down_proj: ["down_proj"] } as const

/** Experts of a layer: more is damage, or an attempt to take all memory. */
const mostExperts = 2 ** 16

const fail = (message: string) => new ModelConfigError({ message: visible(message) })

/** One expert's tensors behind the other's, [experts, rows, columns]: `rows` are those of all of `names`. */
const stack = (
  prefix: string,
  name: string,
  names: ReadonlyArray<string>,
  count: number,
  tensors: StoredTensors
): Effect.Effect<StoredTensor, ModelConfigError> =>
  Effect.gen(function* () {
    const parts: Array<StoredTensor> = []
    for (let expert = 0; expert < count; expert++)
      for (const each of names) {
        const key = `${prefix}.${expert}.${each}.weight`
        const part = tensors.get(key)
        const first = parts[0] ?? part
        if (part === undefined || first === undefined)
          return yield* fail(`the weights have no ${shorten(key)}, though other experts of this layer`)
        if (part.nf4 !== undefined) return yield* fail(`the weight ${shorten(key)} is in NF4; experts must be floats`)
        if (part.shape.length !== 2 || !sameShape(part.shape, first.shape) || part.dtype !== first.dtype)
          return yield* fail(
            `the weight ${shorten(key)} is ${part.dtype} ${shapeText(part.shape)}; the first expert's is ${first.dtype} ${shapeText(first.shape)}`
          )
        parts.push(part)
      }
    const [rows, columns] = parts[0]!.shape as [number, number]
    return joinedTensors(`${prefix}.${name}`, [count, names.length * rows, columns], parts)
  })

/** Tensors by our names, experts that are stored by themselves in stacks. Fails where some are missing or do not fit together, or are there in both ways. */
export const stackedExperts = Effect.fn("stackedExperts")(function* (tensors: StoredTensors) {
  const counts = new Map<string, number>()
  const all = new Map<string, StoredTensor>()
  for (const [name, tensor] of tensors) {
    const [, prefix, expert] = separate.exec(name) ?? []
    if (prefix === undefined) all.set(name, tensor)
    else counts.set(prefix, Math.max(counts.get(prefix) ?? 0, Number(expert) + 1))
  }
  for (const [prefix, count] of counts) {
    if (count > mostExperts)
      return yield* fail(`the weights of ${shorten(prefix)} are for more than ${mostExperts} experts`)
    for (const [name, names] of Object.entries(stacks)) {
      const key = `${prefix}.${name}`
      if (all.has(key)) return yield* fail(`the weights hold ${shorten(key)} twice, as one tensor and expert by expert`)
      all.set(key, yield* stack(prefix, name, names, count, tensors))
    }
  }
  return all as StoredTensors
})
