/** Results that arrive at a board in an unlucky order: in the end every node's result is that of the inputs which it has. */
import { assert, describe, it } from "vitest"
import type { KnownOutput } from "../../src/ledger/Actions.ts"
import { type Digest, sha256 } from "../../src/pipeline/Digest.ts"
import { actionKey } from "../../src/pipeline/Key.ts"
import type { NodeId, PlanNode } from "../../src/pipeline/Plan.ts"
import { Board } from "../../src/runner/Board.ts"
import { Resolver } from "../../src/runner/Resolver.ts"
import { mix } from "./simulatedStages.ts"

const code = sha256("code")
const parametersOf = (n: number) => `{"n":${n},"noise":false}`

/** The key of `mix` number `n` on inputs of these contents. */
const keyOf = (n: number, inputs: ReadonlyArray<string>): Digest =>
  actionKey({
    stage: "mix",
    code,
    engine: "none",
    parameters: parametersOf(n),
    inputs: inputs.map(content => ({ port: "texts", name: undefined, digest: sha256(content) }))
  })

const text = (content: string, state: KnownOutput["state"] = "present"): ReadonlyArray<KnownOutput> => [
  { port: "text", digest: sha256(content), state }
]

/** A board on nodes that are `mix` number `n` of earlier nodes, and a ledger that the test fills; targets besides what nobody consumes. */
const boardOf = (
  nodes: ReadonlyArray<readonly [n: number, of: ReadonlyArray<NodeId>]>,
  targets: ReadonlyArray<NodeId>
) => {
  const ledger = new Map<Digest, ReadonlyArray<KnownOutput>>()
  const make = () => {
    const resolver = new Resolver({
      plan: {
        pipeline: "board",
        profile: "only",
        nodes: nodes.map(([n, of], id): PlanNode => ({
          id,
          label: `mix/${id}`,
          stage: mix,
          parameters: { n, noise: false },
          parametersText: parametersOf(n),
          wires: of.map(node => ({ port: "texts", name: undefined, node, output: "text" }))
        })),
        targets: targets.map(node => ({ name: `${node}`, node, output: "text" }))
      },
      codeOf: () => ({ digest: code, detail: "{}" }),
      identityOf: () => undefined,
      engine: "none",
      generation: 0,
      snapshot: undefined,
      lookup: keys =>
        new Map(keys.flatMap(key => (ledger.has(key) ? [[key, { id: 1, outputs: ledger.get(key)! }]] : [])))
    })
    resolver.resolveAll()
    const board = new Board({ resolver, keepGoing: true, estimate: () => undefined })
    board.survey()
    return { board, resolver }
  }
  /** Contents by node, of results whose key is that of the inputs which the node has. */
  const contents = (resolver: Resolver, names: ReadonlyArray<string>) =>
    resolver.plan.nodes.map(node => {
      const state = resolver.states[node.id]!
      const components = resolver.components(node)
      if (state._tag !== "known" || components === undefined || actionKey(components) !== state.key) return undefined
      return names.find(name => sha256(name) === state.outputs[0]!.digest)
    })
  return { ledger, make, contents }
}

describe("a result that was made again and differs", () => {
  it("does not replace the result of a node that has other inputs by now", () => {
    // mix/1 and mix/3 are the same action, as long as mix/2 returns the same as mix/0. But mix/2 uses mix/1.
    const { contents, ledger, make } = boardOf(
      [
        [0, []],
        [1, [0]],
        [2, [1]],
        [1, [2]],
        [3, [3]]
      ],
      [1]
    )
    ledger.set(keyOf(0, []), text("a"))
    ledger.set(keyOf(1, ["a"]), text("b", "lost"))
    ledger.set(keyOf(2, ["b"]), text("a"))
    ledger.set(keyOf(3, ["b"]), text("end"))
    // Known from other runs.
    ledger.set(keyOf(2, ["new b"]), text("new a"))
    ledger.set(keyOf(1, ["new a"]), text("newer b"))
    ledger.set(keyOf(3, ["newer b"]), text("new end"))
    const { board, resolver } = make()
    assert.strictEqual(board.next()?.node.id, 1)
    ledger.set(keyOf(1, ["a"]), text("new b"))
    board.settle(1, { _tag: "Executed", outputs: text("new b"), ms: 1 })
    assert.isUndefined(board.next(), "all is known")
    assert.deepStrictEqual(contents(resolver, ["a", "b", "new b", "new a", "newer b", "end", "new end"]), [
      "a",
      "new b",
      "new a",
      "newer b",
      "new end"
    ])
  })

  it("reaches a consumer also by a longer way, after the consumer was found on the shorter one", () => {
    const { contents, ledger, make } = boardOf(
      [
        [0, []],
        [1, [0]],
        [2, [1]],
        [3, [0, 2]]
      ],
      []
    )
    ledger.set(keyOf(0, []), text("a", "lost"))
    ledger.set(keyOf(1, ["a"]), text("b"))
    ledger.set(keyOf(2, ["b"]), text("c"))
    // The last one is not known with a and c, but with what it has for a moment, and in the end.
    ledger.set(keyOf(3, ["new a", "c"]), text("between"))
    ledger.set(keyOf(3, ["new a", "new c"]), text("end"))
    ledger.set(keyOf(1, ["new a"]), text("new b"))
    ledger.set(keyOf(2, ["new b"]), text("new c"))
    const { board, resolver } = make()
    assert.strictEqual(board.next()?.node.id, 0)
    ledger.set(keyOf(0, []), text("new a"))
    board.settle(0, { _tag: "Executed", outputs: text("new a"), ms: 1 })
    assert.isUndefined(board.next(), "all is known")
    assert.deepStrictEqual(contents(resolver, ["new a", "new b", "new c", "between", "end"]), [
      "new a",
      "new b",
      "new c",
      "end"
    ])
  })
})
