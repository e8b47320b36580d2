/** Prompts and responses of sequences, their answers, and sets of trajectories as a training reads them. */
import { Effect, Stream } from "effect"
import { assert, describe, it } from "vitest"
import { anchorKey } from "../../../src/methods/shared/anchors/anchors.ts"
import { answerIn, hasAnswerOf } from "../../../src/methods/shared/trajectories/answer.ts"
import { materialOf, responsesOf } from "../../../src/methods/shared/trajectories/responses.ts"
import {
  decodeTrajectory,
  encodeTrajectory,
  fieldRecord,
  readTrajectories,
  type TokenizerOf
} from "../../../src/methods/shared/trajectories/trajectories.ts"
import { sha256 } from "../../../src/pipeline/Digest.ts"
import type { ChunkReader } from "../../../src/pipeline/StageContext.ts"

const own: TokenizerOf = { maskId: 9, vocabulary: "a".repeat(64) }
const response = { ids: Int32Array.of(1, 2, 3, 4), promptLength: 2, idx: 41 }
const bytes = encodeTrajectory({ revealedAt: [2, 1], forwards: 2 }, response)

const setOf = (items: ReadonlyArray<Uint8Array>): ChunkReader<TokenizerOf> => ({
  digest: sha256(""),
  metadata: own,
  count: items.length,
  items: Stream.fromIterable(
    items.map(item => ({ key: sha256(item), note: null, size: item.length, bytes: Effect.succeed(item) }))
  )
})
const read = (model: TokenizerOf, sequences = [response], items = [bytes]) =>
  Effect.runSync(Effect.result(readTrajectories(setOf(items), sequences, model)))

describe("responsesOf", () => {
  it("takes what is learnt, and of a text that is learnt from its beginning what follows a share of it", () => {
    const ids = Int32Array.from({ length: 8 }, (_, i) => i)
    const of = (lossMask: ReadonlyArray<number>) =>
      responsesOf([{ ids, lossMask: Uint8Array.from(lossMask), promptLength: 0 }], 0.25).map(each => each.promptLength)
    assert.deepStrictEqual(of([0, 0, 0, 1, 1, 0, 1, 1]), [3])
    assert.deepStrictEqual(of([1, 1, 1, 1, 1, 1, 1, 1]), [2])
    assert.deepStrictEqual(
      responsesOf([{ ids: ids.slice(0, 1), lossMask: Uint8Array.of(1), promptLength: 0 }], 0.25),
      []
    )
  })

  it("keys a response by its ids, where it begins, and its number", () => {
    const { idx: _, ...unnumbered } = response
    const materials = [response, unnumbered, { ...response, promptLength: 1 }, { ...response, idx: 4 }].map(each =>
      materialOf(each, each.ids)
    )
    assert.strictEqual(new Set(materials).size, 4)
    assert.strictEqual(materials[1], `${anchorKey(response.ids)} 2`)
  })
})

describe("answers", () => {
  it("are what the expression finds last: its group, or all of it, without blanks at the ends", () => {
    assert.strictEqual(answerIn("#### (.*)", "#### 3\nso\n#### 42 \nthen"), "42")
    assert.strictEqual(answerIn("^.+$", "one\n two\n"), "two")
    assert.isUndefined(answerIn("#### (.*)", "no answer"))
  })

  it("are right where they are those of the data, which must have one", () => {
    assert.isTrue(hasAnswerOf("= (\\d+)", "2 = 2, 2 + 2 = 4", "it is = 4"))
    assert.isFalse(hasAnswerOf("= (\\d+)", "2 + 2 = 5", "it is = 4"))
    assert.isFalse(hasAnswerOf("= (\\d+)", "no answer", "it is = 4"))
    assert.isFalse(hasAnswerOf("= (\\d+)", "no answer", "none here"))
  })
})

describe("sets of trajectories", () => {
  it("are read by the ids of their sequences", () => {
    const found = read(own, [{ ...response, ids: Int32Array.of(7) }, response])
    assert.strictEqual(found._tag, "Success")
    if (found._tag !== "Success") return
    assert.deepStrictEqual([...found.success.keys()], [1])
    assert.deepInclude(found.success.get(1), { promptLength: 2, revealedAt: [2, 1], forwards: 2 })
  })

  it("are refused with another mask, of another tokenizer, or of other sequences", () => {
    const why = (...given: Parameters<typeof read>) => {
      const found = read(...given)
      return found._tag === "Failure" ? found.failure.message : undefined
    }
    assert.strictEqual(why({ ...own, maskId: 8 }), "the trajectories were made with mask token 9, the model's is 8")
    assert.match(
      why({ ...own, vocabulary: "b".repeat(64) })!,
      /another tokenizer: .* is aaaaaaaaaaaa, the model's bbbbbbbbbbbb$/
    )
    const other = [{ ...response, ids: Int32Array.of(1, 2, 3, 5) }]
    assert.strictEqual(why(own, other), "none of the 1 trajectories is of a sequence that is trained on")
    assert.match(why(own, other, [])!, /^none of the 0 trajectories/)
  })

  it("are not kept where they do not fit their sequence", () => {
    assert.throws(
      () => encodeTrajectory({ revealedAt: [1], forwards: 1 }, response),
      /it has 2 \+ 1 tokens, the sequence 4/
    )
    assert.throws(() => encodeTrajectory({ revealedAt: [1, 0], forwards: 1 }, response), /is revealed at step 0/)
  })

  it("are written as the field does, under the record's own number or its place", () => {
    const record = Effect.runSync(decodeTrajectory(bytes, "key"))
    const expected = {
      trajectory: [
        [1, 2, 9, 9],
        [1, 2, 9, 4],
        [1, 2, 3, 4]
      ],
      nfe: 2,
      prompt_len: 2,
      mask_token_id: 9,
      tokenizer_hash: own.vocabulary,
      ids_sha: anchorKey(response.ids)
    }
    assert.deepStrictEqual(fieldRecord(record, 3, own), { idx: 41, ...expected })
    const { idx: _, ...unnumbered } = record
    assert.deepStrictEqual(fieldRecord(unnumbered, 3, own), { idx: 3, ...expected })
  })
})
