/** Fields that contradict each other: found where settings are decoded, long before anything is computed from them. */
import { Schema } from "effect"

/** Fields as they are written, `group.field` for one of a group, that do not go together; or one that does not go with the rest. */
export interface Contradiction {
  readonly fields: ReadonlyArray<string>
  readonly why: string
}

/** Each of the fields is an error of its own, so that all places are shown: the line of a file, and what `--set` says. */
export const consistent = <A>(...rules: ReadonlyArray<(settings: NoInfer<A>) => Contradiction | undefined>) =>
  Schema.makeFilter((settings: A) =>
    rules.flatMap(rule => {
      const { fields, why } = rule(settings) ?? { fields: [], why: "" }
      return fields.map(field => {
        const others = fields.filter(other => other !== field)
        return {
          path: field.split("."),
          issue: others.length === 0 ? why : `does not go with ${others.join(" and ")}: ${why}`
        }
      })
    })
  )
