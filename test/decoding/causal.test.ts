/** Decoding token by token and by drafts: with models that know what their caches hold. */
import { Effect } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { type CausalPrompt, decodeCausally, type Drafting } from "../../src/decoding/causal.ts"
import { sampleToken } from "../../src/decoding/sampling.ts"
import type { TextPass, TextReader } from "../../src/decoding/textPass.ts"
import { randomKey, subkey, uniformAt } from "../../src/tensor/random.ts"

const [vocabSize, stop, mask, length] = [13, 10, 12, 24]
const suppressed = [mask]

/** What a model says behind some ids, by chance. */
const logitsOf = (ids: ReadonlyArray<number>, seed: number): ReadonlyArray<number> => {
  const own = randomKey(seed, "logits", ...ids)
  return Array.from({ length: vocabSize }, (_, id) => 4 * uniformAt(own, id))
}

/** A row of caches: the ids whose keys and values it holds, and how many ids its state sums up. */
interface Held {
  ids: Array<number>
  state: number
}

/** A model that reads what is not computed from its caches, where it must have been left. `of` says what stands at a place, by all that is seen of the text. */
const cached = (
  rows: number,
  { causal, recurrent }: { readonly causal: boolean; readonly recurrent: boolean },
  of: (seen: ReadonlyArray<number>, place: number) => ReadonlyArray<number>
): TextReader<never> & { readonly passes: Array<ReadonlyArray<TextPass>> } => {
  const held = Array.from({ length: rows }, (): Held => ({ ids: [], state: 0 }))
  const passes: Array<ReadonlyArray<TextPass>> = []
  return {
    vocabSize,
    length,
    passes,
    read: asked =>
      Effect.sync(() => {
        passes.push(asked)
        assert.isAtMost(asked.length, rows)
        return Float32Array.from(
          asked.flatMap(({ from, ids, keeps, places, row, to, until }) => {
            const own = held[row]!
            const seen = [...own.ids.slice(0, from), ...ids.subarray(from, to)]
            assert.strictEqual(seen.length, to, "what was not computed is in the cache")
            assert.deepStrictEqual(seen, [...ids.subarray(0, to)], "the cache holds what the text has")
            if (recurrent && from > 0) assert.strictEqual(own.state, from)
            assert.strictEqual(until, to)
            const found = places.flatMap(place => {
              assert.isAtMost(place, to)
              return of(causal ? seen.slice(0, place) : seen, place)
            })
            if (keeps !== undefined) {
              assert.isTrue(from <= keeps.from && keeps.from <= keeps.to && keeps.to <= to)
              assert.isAtMost(keeps.from, own.ids.length)
              own.ids = [...own.ids.slice(0, keeps.from), ...ids.subarray(keeps.from, keeps.to)]
              if (recurrent) assert.isTrue(from <= keeps.states && keeps.states <= to)
              own.state = keeps.states
            }
            return found
          })
        )
      })
  }
}

/** One token after the other, with all of the text read again, until one that is sought. */
const plainly = ({ ids, key, newTokens }: CausalPrompt, temperature: number, seed: number, sought?: number) => {
  const all = Array.from(ids)
  for (let made = 0; made < newTokens; made++) {
    const row = logitsOf(all, seed).map((value, id) => (id === mask ? -Infinity : value))
    const { token } = sampleToken(row, { temperature }, uniformAt(subkey(key, "tokens"), made))
    if (token === stop) return { tokens: all.slice(ids.length), ended: true }
    all.push(token)
    if (token === sought) break
  }
  return { tokens: all.slice(ids.length), ended: false }
}

const asked = fc.array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 17 })), {
  minLength: 1,
  maxLength: 6
})
const promptsOf = (sizes: ReadonlyArray<readonly [number, number]>): ReadonlyArray<CausalPrompt> =>
  sizes.map(([size, newTokens], i) => ({
    ids: Array.from({ length: size }, (_, k) => (i + k) % 9),
    newTokens,
    key: randomKey(i, "prompt")
  }))

describe("decodeCausally", () => {
  it("writes what reading all of the text for each token writes, whatever is drafted, until an end that is asked for", () => {
    fc.assert(
      fc.property(
        asked,
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(0, 1),
        fc.nat(99),
        fc.boolean(),
        fc.option(fc.record({ draftTokens: fc.integer({ min: 1, max: 5 }), right: fc.double({ min: 0, max: 1 }) })),
        fc.option(fc.nat(9), { nil: undefined }),
        (sizes, rows, temperature, seed, recurrent, drafts, sought) => {
          const prompts = promptsOf(sizes)
          const reader = cached(rows, { causal: true, recurrent }, ids => logitsOf(ids, seed))
          const drafter = cached(rows, { causal: false, recurrent: false }, (ids, place) => {
            const own = randomKey(seed, "draft", ...ids, place)
            // Now and then what the model itself says of the text so far, as far as it goes.
            return uniformAt(own, 0) < drafts!.right
              ? logitsOf(ids.slice(0, ids.indexOf(mask)), seed)
              : logitsOf(ids, 7)
          })
          const drafting: Drafting<never> | undefined =
            drafts === null
              ? undefined
              : { drafter, draftTokens: drafts.draftTokens, mask, tokenShift: true, recurrent }
          const told = prompts.map((): Array<number> => [])
          const { passes, texts } = Effect.runSync(
            decodeCausally(
              reader,
              prompts,
              {
                rows,
                sampling: { temperature },
                ends: new Set([stop]),
                suppressed,
                ending: (_number, settled) => {
                  const at = sought === undefined ? -1 : settled.indexOf(sought)
                  return at < 0 ? undefined : at + 1
                },
                onTokens: (number, tokens) => Effect.sync(() => void told[number]!.push(...tokens))
              },
              drafting
            )
          )
          for (const [i, { ended, forwards, tokens }] of texts.entries()) {
            const expected = plainly(prompts[i]!, temperature, seed, sought)
            assert.deepStrictEqual({ ended, tokens: [...tokens] }, expected)
            assert.deepStrictEqual(told[i], expected.tokens)
            if (drafting === undefined) assert.strictEqual(forwards, expected.tokens.length + Number(expected.ended))
            // Of a draft and what verifies it, every pair makes a token at least.
            else assert.isAtMost(forwards, 2 * (expected.tokens.length + Number(expected.ended)))
          }
          assert.strictEqual(passes, reader.passes.length + drafter.passes.length)
        }
      ),
      { numRuns: 300 }
    )
  })

  it("drafts by a model with other rows behind the tokens, and only what both have", () => {
    const prompt: CausalPrompt = { ids: [1, 2], newTokens: 12, key: randomKey(0, "prompt") }
    const reader = () => cached(1, { causal: true, recurrent: false }, ids => logitsOf(ids, 3))
    const options = { rows: 1, sampling: { temperature: 0 }, ends: new Set([stop]), suppressed } as const
    const plain = Effect.runSync(decodeCausally(reader(), [prompt], options))
    for (const wider of [vocabSize - 2, vocabSize + 3]) {
      // What stands behind is the likeliest.
      const other = cached(1, { causal: false, recurrent: false }, ids =>
        Array.from({ length: wider }, (_, id) => (id >= vocabSize ? 99 : (logitsOf(ids, 4)[id] ?? 0)))
      )
      const drafting = {
        drafter: { ...other, vocabSize: wider },
        draftTokens: 3,
        mask,
        tokenShift: true,
        recurrent: false
      }
      const drafted = Effect.runSync(decodeCausally(reader(), [prompt], options, drafting))
      assert.deepStrictEqual(drafted.texts[0]!.tokens, plain.texts[0]!.tokens)
      for (const { ids } of other.passes.flat()) assert.isBelow(Math.max(...ids), vocabSize)
    }
  })

  it("takes two passes for as many tokens as are drafted and one more, where all drafts are right", () => {
    const prompt: CausalPrompt = { ids: [1, 2], newTokens: 17, key: randomKey(0, "prompt") }
    const never = (ids: ReadonlyArray<number>) => logitsOf(ids, 3).map((value, id) => (id === stop ? -9 : value))
    const truth: Array<number> = [1, 2]
    while (truth.length < 19) {
      const row = never(truth).map((value, id) => (id === mask ? -Infinity : value))
      truth.push(row.indexOf(Math.max(...row)))
    }
    const drafter = cached(1, { causal: false, recurrent: false }, (_, place) =>
      Array.from({ length: vocabSize }, (_id, id) => (id === truth[place] ? 1 : 0))
    )
    const { passes, texts } = Effect.runSync(
      decodeCausally(
        cached(1, { causal: true, recurrent: true }, never),
        [prompt],
        { rows: 1, sampling: { temperature: 0 }, ends: new Set([stop]), suppressed },
        { drafter, draftTokens: 5, mask, tokenShift: true, recurrent: true }
      )
    )
    assert.deepStrictEqual([...texts[0]!.tokens], truth.slice(2))
    // 6 + 6 + 5 tokens.
    assert.strictEqual(passes, 6)
    assert.strictEqual(texts[0]!.forwards, 6)
  })
})
