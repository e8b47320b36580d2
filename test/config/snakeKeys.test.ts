/** Fields that files call otherwise. */
import { Result, Schema } from "effect"
import * as fc from "fast-check"
import { assert, describe, it } from "vitest"
import { numberList, TextList } from "../../src/config/commaList.ts"
import { PositiveInt, setting } from "../../src/config/setting.ts"
import { snakeCase, snakeKeys } from "../../src/config/snakeKeys.ts"
import { fromIssue } from "../../src/pipeline/SchemaProblem.ts"

const Settings = Schema.Struct({
  maskRatio: setting(PositiveInt, 3),
  epochs: PositiveInt,
  beta2: Schema.optionalKey(Schema.Finite)
})
const InFile = snakeKeys(Settings, { epochs: "num_train_epochs" })
const decode = Schema.decodeUnknownResult(InFile, { errors: "all", onExcessProperty: "error" })

describe("snakeKeys", () => {
  it("reads and writes the file's names, with defaults", () => {
    const decoded = Schema.decodeUnknownSync(InFile)({ num_train_epochs: 2 })
    assert.deepStrictEqual(decoded, { maskRatio: 3, epochs: 2 })
    assert.deepStrictEqual(Schema.encodeSync(InFile)(decoded), { mask_ratio: 3, num_train_epochs: 2 })
  })

  it("names fields as they are written, also where a value is refused", () => {
    const value = { mask_ratio: 0, num_train_epochs: 1, maskRatio: 5 }
    const refused = decode(value)
    if (Result.isSuccess(refused)) return assert.fail("accepted")
    const problems = fromIssue(refused.failure.issue, value, "")
    assert.deepStrictEqual(
      problems.map(({ kind, path }) => [kind, path]).sort((a, b) => String(a[0]).localeCompare(String(b[0]))),
      [
        ["unknown", ["maskRatio"]],
        ["value", ["mask_ratio"]]
      ]
    )
  })

  it("keeps every value on the way to a file and back", () => {
    fc.assert(
      fc.property(fc.record({ maskRatio: fc.nat(9).map(n => n + 1), epochs: fc.nat(9).map(n => n + 1) }), settings => {
        assert.deepStrictEqual(Schema.decodeUnknownSync(InFile)(Schema.encodeSync(InFile)(settings)), settings)
      })
    )
  })

  it("puts a low line before each capital", () => {
    assert.strictEqual(snakeCase("reprAlignWtFinal"), "repr_align_wt_final")
    assert.strictEqual(snakeCase("beta2"), "beta2")
  })
})

describe("lists in one text", () => {
  it("are split at commas, and a list is taken as it is", () => {
    const layers = Schema.decodeUnknownSync(numberList(PositiveInt))
    assert.deepStrictEqual(layers("7, 14,21"), [7, 14, 21])
    assert.deepStrictEqual(layers([7, 14]), [7, 14])
    assert.throws(() => layers("7,x"))
    assert.throws(() => layers("7,-1"))
    assert.deepStrictEqual(Schema.decodeUnknownSync(TextList)("lm_head,embed_tokens"), ["lm_head", "embed_tokens"])
    assert.deepStrictEqual(Schema.decodeUnknownSync(TextList)(""), [])
  })
})
