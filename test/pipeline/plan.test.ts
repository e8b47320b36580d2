import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { ancestors, consumers, only, type Plan, type PlanNode } from "../../src/pipeline/Plan.ts"
import { average, split, tokenize } from "../support/stages.ts"

/** A plan of the given wiring: `inputs[i]` are the nodes that node i takes. */
const planOf = (inputs: ReadonlyArray<ReadonlyArray<number>>, labels?: ReadonlyArray<string>): Plan => ({
  pipeline: "test",
  profile: "only",
  nodes: inputs.map((from, id): PlanNode => ({
    id,
    label: labels?.[id] ?? `n${id}`,
    stage: from.length === 0 ? tokenize : average,
    parameters: {},
    parametersText: "{}",
    wires: from.map(node => ({ port: "weights", name: undefined, node, output: "weights" }))
  })),
  targets: []
})

/** Each node takes some of the nodes before it, possibly one twice. */
const dag = fc
  .array(fc.array(fc.nat(), { maxLength: 4 }), { minLength: 1, maxLength: 14 })
  .map(inputs => inputs.map((from, id) => (id === 0 ? [] : from.map(node => node % id))))

/** By the definition: a node and what its inputs need. */
const neededBy = (plan: Plan, id: number): ReadonlySet<number> =>
  new Set([id, ...plan.nodes[id]!.wires.flatMap(wire => [...neededBy(plan, wire.node)])])

describe("ancestors", () => {
  it("are what the definition says, each once, in topological order", () => {
    fc.assert(
      fc.property(dag, fc.array(fc.nat(), { maxLength: 3 }), (inputs, chosen) => {
        const plan = planOf(inputs)
        const of = chosen.map(id => id % plan.nodes.length)
        const expected = [...new Set(of.flatMap(id => [...neededBy(plan, id)]))].sort((a, b) => a - b)
        assert.deepStrictEqual(ancestors(plan, of), expected)
      })
    )
  })

  it("a chain of 100,000 stages and a fan of 100,000 need no stack", () => {
    const length = 100_000
    const chain = planOf(Array.from({ length }, (_, id) => (id === 0 ? [] : [id - 1])))
    assert.strictEqual(ancestors(chain, [length - 1]).length, length)
    assert.deepStrictEqual(ancestors(chain, [0]), [0])
    const fan = planOf([...Array.from({ length }, () => []), Array.from({ length }, (_, id) => id)])
    assert.strictEqual(ancestors(fan, [length]).length, length + 1)
    assert.strictEqual(consumers(fan)[7]!.length, 1)
    assert.strictEqual(consumers(chain)[0]!.length, 1)
    assert.strictEqual(only(chain, [`n${length - 1}`]).plan.nodes.length, length)
  })
})

describe("consumers", () => {
  it("are the nodes with a wire from a node, each once, in order", () => {
    fc.assert(
      fc.property(dag, inputs => {
        const plan = planOf(inputs)
        const expected = plan.nodes.map(({ id }) =>
          plan.nodes.filter(node => node.wires.some(wire => wire.node === id)).map(node => node.id)
        )
        assert.deepStrictEqual(consumers(plan), expected)
      })
    )
  })
})

describe("only", () => {
  const label: fc.Arbitrary<string> = fc.constantFrom(
    "train",
    "train/a",
    "train/b",
    "training",
    "eval",
    "eval/a",
    "tokenize"
  )

  it("keeps the matching nodes and what they need, wired as before", () => {
    fc.assert(
      fc.property(
        dag,
        fc.array(label, { minLength: 14, maxLength: 14 }),
        fc.array(label, { maxLength: 3 }),
        (inputs, labels, patterns) => {
          const plan = planOf(inputs, labels)
          const { plan: smaller, unmatched } = only(plan, patterns)
          const matching = plan.nodes.filter(node =>
            patterns.some(p => node.label === p || node.label.startsWith(`${p}/`))
          )
          const kept = [...new Set(matching.flatMap(node => [...neededBy(plan, node.id)]))].sort((a, b) => a - b)
          assert.deepStrictEqual(
            smaller.nodes.map(node => node.label),
            kept.map(id => plan.nodes[id]!.label)
          )
          for (const [index, node] of smaller.nodes.entries()) {
            assert.strictEqual(node.id, index)
            const before = plan.nodes[kept[index]!]!
            assert.deepStrictEqual(
              node.wires.map(wire => kept[wire.node]),
              before.wires.map(wire => wire.node)
            )
            assert.isTrue(node.wires.every(wire => wire.node < index))
          }
          assert.deepStrictEqual(
            smaller.targets.map(target => kept[target.node]),
            matching.map(node => node.id)
          )
          assert.deepStrictEqual(
            unmatched,
            patterns.filter(p => !labels.slice(0, inputs.length).some(l => l === p || l.startsWith(`${p}/`)))
          )
        }
      )
    )
  })

  it("a name is no prefix of a longer name", () => {
    const { plan, unmatched } = only(planOf([[], [], []], ["train", "training", "train/a"]), ["train", "eval"])
    assert.deepStrictEqual(
      plan.nodes.map(node => node.label),
      ["train", "train/a"]
    )
    assert.deepStrictEqual(unmatched, ["eval"])
  })

  it("a stage's name chooses all its uses; each output of one is a target with a name of its own", () => {
    const plan = planOf([[], [0]], ["tokenize", "split"])
    const nodes = plan.nodes.map(node => (node.label === "split" ? { ...node, stage: split } : node))
    const { targets } = only({ ...plan, nodes }, ["split"]).plan
    assert.deepStrictEqual(targets, [
      { name: "split.train", node: 1, output: "train" },
      { name: "split.heldOut", node: 1, output: "heldOut" }
    ])
  })

  it("the whole plan stays as it is", () => {
    const plan = planOf([[], [0], [0, 1]], ["a", "b", "c"])
    assert.deepStrictEqual(only(plan, ["c"]).plan.nodes, plan.nodes)
  })
})
