/** The tasks `sort` and `order`: letters in the order of the alphabet; of `order`, backwards is right, too. */
import { type Outcome, promptedTask } from "./Task.ts"

const lettersOf = (title: string) => (prompt: string) =>
  new RegExp(`^${title}((?: [a-z])+):$`).exec(prompt)?.[1]?.trim().split(" ")

const check =
  (directions: ReadonlyArray<1 | -1>) =>
  (asked: ReadonlyArray<string>, response: string): Outcome => {
    if (!/^[a-z](?: [a-z])*$/.test(response)) return "missing"
    const written = response.split(" ")
    const left = [...asked]
    for (const letter of written) {
      const at = left.indexOf(letter)
      if (at < 0) return "wrong"
      left.splice(at, 1)
    }
    const follows = (direction: 1 | -1) =>
      written.every((letter, i) => i === 0 || direction * (letter.charCodeAt(0) - written[i - 1]!.charCodeAt(0)) >= 0)
    return left.length === 0 && directions.some(follows) ? "right" : "wrong"
  }

export const sort = promptedTask("sort", {
  example: "Sort d a c:",
  read: lettersOf("Sort"),
  check: check([1]),
  answerTokens: 8
})

export const order = promptedTask("order", {
  example: "Order d a c:",
  read: lettersOf("Order"),
  check: check([1, -1]),
  answers: (_, response) => [response.split(" ").reverse().join(" ")],
  answerTokens: 8
})
