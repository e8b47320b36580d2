/** Hidden states of packed rows at some layers. */
import { Effect, type Scope } from "effect"
import { packedArrays, packRows } from "../data/packing.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type ModelConfig, parameterSpecs } from "./config.ts"
import { forward, weightsOf } from "./qwen.ts"
import type { BatchShape } from "./shifted.ts"

export interface StatesOptions extends BatchShape {
  readonly causal: boolean
  readonly pad: number
  /** 0: the embedding; 1: what leaves the first layer, before any norm; … */
  readonly layers: ReadonlyArray<number>
}

/** States of sequences, one after the other as they come: for each layer f32 [tokens x d]. */
export type States = <E, R>(
  sequences: ReadonlyArray<ArrayLike<number>>,
  onSequence: (sequence: number, states: ReadonlyArray<Float32Array>) => Effect.Effect<void, E, R>
) => Effect.Effect<void, E | EngineError, R>

/** Prepares a model whose parameters lie in buffers. Sequences share rows and do not see each other; none may be longer than a row. */
export const makeStates = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { causal, layers, length, pad, rows }: StatesOptions
): Effect.Effect<States, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const d = config.hiddenSize
    const specs = parameterSpecs(config)
    const named = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
    const { states } = forward(
      config,
      weightsOf(config, name => named.get(name)!),
      input("ids", "i32", [rows, length]),
      {
        causal,
        documents: input("documents", "i32", [rows, length]),
        positions: input("positions", "i32", [rows, length])
      }
    )
    const wanted: { [name: string]: Tensor } = {}
    const outputs: { [name: string]: Effect.Success<ReturnType<Engine["allocate"]>> } = {}
    for (const layer of layers) {
      wanted[String(layer)] = states[layer]!
      outputs[String(layer)] = yield* engine.allocate("f32", [rows, length, d])
    }
    const program = makeProgram(wanted)
    const executable = yield* engine.compile(program)
    const data: Buffers = {
      ids: yield* engine.allocate("i32", [rows, length]),
      documents: yield* engine.allocate("i32", [rows, length]),
      positions: yield* engine.allocate("i32", [rows, length])
    }
    // The embedding alone needs neither layers nor positions.
    const used = new Set(program.inputs.map(({ name }) => name))
    const inputs = Object.fromEntries(Object.entries({ ...parameters, ...data }).filter(([name]) => used.has(name)))
    const call = yield* engine.bind(executable, inputs, outputs)
    const run: States = (sequences, onSequence) =>
      Effect.gen(function* () {
        const all = packRows(
          sequences.map(sequence => sequence.length),
          sequences.keys(),
          { capacity: length }
        )
        for (let start = 0; start < all.length; start += rows) {
          const filled = Array.from({ length: rows }, (_, r) => all[start + r] ?? [])
          const packed = packedArrays(sequences, filled, { capacity: length, pad })
          for (const name of ["ids", "documents", "positions"] as const) yield* engine.upload(data[name]!, packed[name])
          yield* engine.run([call])
          const computed: Array<Float32Array> = []
          for (const layer of layers) computed.push((yield* engine.download(outputs[String(layer)]!)) as Float32Array)
          for (const [r, row] of filled.entries()) {
            let at = r * length
            for (const sequence of row) {
              const size = sequences[sequence]!.length
              yield* onSequence(
                sequence,
                computed.map(values => values.subarray(at * d, (at + size) * d))
              )
              at += size
            }
          }
        }
      })
    return run
  })
