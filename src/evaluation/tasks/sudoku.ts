/** The task `sudoku`: 4 x 4 cells, of which some are given, so that each row, each column and each quarter holds 1 to 4. */
import { promptedTask } from "./Task.ts"

/** 0 is open. */
const read = (prompt: string): ReadonlyArray<string> | undefined => {
  const [, cells] = /^Sudoku ((?:[0-4] ){3}[0-4](?: \/(?: [0-4]){4}){3}):$/.exec(prompt) ?? []
  return cells?.match(/\d/g) ?? undefined
}

/** The cells of each row, column and quarter. */
const units = [0, 1, 2, 3].flatMap(unit => [
  [0, 1, 2, 3].map(i => 4 * unit + i),
  [0, 1, 2, 3].map(i => 4 * i + unit),
  [0, 1, 4, 5].map(i => 8 * Math.floor(unit / 2) + 2 * (unit % 2) + i)
])

export const sudoku = promptedTask("sudoku", {
  example: "Sudoku 1 0 0 4 / 0 0 1 0 / 0 1 0 0 / 4 0 0 1:",
  read,
  check: (given, response) => {
    if (!/^(?:[1-4] ){3}[1-4](?: \/(?: [1-4]){4}){3}$/.test(response)) return "missing"
    const cells = response.match(/\d/g)!
    const isWhole = units.every(unit => new Set(unit.map(cell => cells[cell])).size === 4)
    return isWhole && given.every((digit, i) => digit === "0" || digit === cells[i]) ? "right" : "wrong"
  },
  answerTokens: 20
})
