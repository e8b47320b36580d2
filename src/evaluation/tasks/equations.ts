/** Equations in one unknown: read, and answers to them checked exactly and without solving, since the answer is put in for the unknown. */
import { Result, Schema } from "effect"
import { plainText } from "./Task.ts"

/** An equation or answer that cannot be read. */
export class EquationError extends Schema.TaggedError<EquationError>()("EquationError", {
  text: Schema.String,
  /** In UTF-16 units from 0. */
  offset: Schema.Int,
  message: Schema.String
}) {}

/** A fraction in lowest terms; the denominator is positive. */
export interface Rational {
  readonly numerator: bigint
  readonly denominator: bigint
}

/** An equation in one unknown. */
export interface Equation {
  readonly unknown: string
  /** Left side minus right side at a value of the unknown; `undefined` where a denominator is zero. */
  readonly difference: (value: Rational) => Rational | undefined
}

const gcd = (a: bigint, b: bigint): bigint => {
  while (b !== 0n) [a, b] = [b, a % b]
  return a < 0n ? -a : a
}

/** `numerator / denominator`; `undefined` for a denominator of zero. */
export const rational = (numerator: bigint, denominator = 1n): Rational | undefined => {
  if (denominator === 0n) return undefined
  const factor = gcd(numerator, denominator) * (denominator < 0n ? -1n : 1n)
  return { numerator: numerator / factor, denominator: denominator / factor }
}

/** A side of an equation, as a function of the unknown. */
type Term = (value: Rational) => Rational | undefined

type Operation = (a: Rational, b: Rational) => Rational | undefined

const add: Operation = (a, b) =>
  rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator)
const multiply: Operation = (a, b) => rational(a.numerator * b.numerator, a.denominator * b.denominator)
const divide: Operation = (a, b) => rational(a.numerator * b.denominator, a.denominator * b.numerator)
const negate: Term = a => ({ numerator: -a.numerator, denominator: a.denominator })
const subtract: Operation = (a, b) => add(a, { numerator: -b.numerator, denominator: b.denominator })

const both =
  (operation: Operation, left: Term, right: Term): Term =>
  value => {
    const a = left(value)
    const b = right(value)
    return a === undefined || b === undefined ? undefined : operation(a, b)
  }

/** Deeper brackets and longer texts than any equation here has are refused, so that hostile text costs nothing. */
const deepest = 50
const longest = 2000

/** Digits after which a number is refused: its fraction would be slow to compute with. */
const mostDigits = 100

/**
 * Reads `left = right`, made of numbers, one unknown, `+ - * /`, brackets and products without a sign (`2x`, `3(x + 1)`).
 * All products and quotients bind equally and from the left: `1/2 x` is half of x.
 */
export const parseEquation = (text: string): Result.Result<Equation, EquationError> => {
  let at = 0
  let unknown: string | undefined
  const fail = (what: string, offset = at) =>
    new EquationError({
      text,
      offset,
      message: `${JSON.stringify(text.slice(0, 80))}, position ${offset + 1}: ${what}`
    })
  const peek = () => {
    while (text[at] === " ") at += 1
    return text[at] ?? ""
  }

  const sum = (depth: number): Term => {
    let left = product(depth)
    for (;;) {
      const sign = peek()
      if (sign !== "+" && sign !== "-") return left
      at += 1
      left = both(sign === "+" ? add : subtract, left, product(depth))
    }
  }
  const product = (depth: number): Term => {
    let left = factor(depth)
    for (;;) {
      const next = peek()
      if (next === "*" || next === "/") {
        at += 1
        left = both(next === "*" ? multiply : divide, left, factor(depth))
      } else if (next === "(" || /[a-z0-9]/.test(next)) {
        left = both(multiply, left, factor(depth))
      } else {
        return left
      }
    }
  }
  const factor = (depth: number): Term => {
    if (depth > deepest) throw fail(`brackets or signs nested deeper than ${deepest}`)
    const next = peek()
    if (next === "-") {
      at += 1
      const inner = factor(depth + 1)
      return value => {
        const result = inner(value)
        return result === undefined ? undefined : negate(result)
      }
    }
    if (next === "(") {
      const open = at
      at += 1
      const inner = sum(depth + 1)
      if (peek() !== ")") throw fail("this bracket is not closed", open)
      at += 1
      return inner
    }
    if (/[a-z]/.test(next)) {
      if (/[a-z]/.test(text[at + 1] ?? "")) throw fail("expected an unknown of one letter, found a word")
      if (unknown !== undefined && unknown !== next) throw fail(`a second unknown ${next} beside ${unknown}`)
      unknown = next
      at += 1
      return value => value
    }
    const digits = /^\d+(?:\.\d+)?/.exec(text.slice(at, at + 2 * mostDigits))?.[0]
    if (digits === undefined) throw fail(next === "" ? "the text ends too early" : `unexpected ${JSON.stringify(next)}`)
    if (digits.length > mostDigits) throw fail(`a number of more than ${mostDigits} digits`)
    at += digits.length
    const [whole = "", decimals = ""] = digits.split(".")
    const constant = rational(BigInt(whole + decimals), 10n ** BigInt(decimals.length))
    return () => constant
  }

  try {
    if (text.length > longest) throw fail(`longer than ${longest} characters`, 0)
    const left = sum(0)
    if (peek() !== "=") throw fail('expected "="')
    at += 1
    const right = sum(0)
    if (peek() !== "") throw fail("expected the end of the equation")
    if (unknown === undefined) throw fail("there is no unknown", 0)
    return Result.succeed({ unknown, difference: both(subtract, left, right) })
  } catch (cause) {
    if (cause instanceof EquationError) return Result.fail(cause)
    throw cause
  }
}

/** Whether the equation is true when the value stands for the unknown. */
export const holds = (equation: Equation, value: Rational): boolean => equation.difference(value)?.numerator === 0n

/** The equation of a prompt such as `Solve for x: 2x + 3 = 11`. */
export const equationOf = (prompt: string): Result.Result<Equation, EquationError> => {
  const match = /\bfor ([a-z]): ([^\n]+)\s*$/.exec(prompt)
  if (match === null) {
    const message = `no equation found; a prompt ends in "for x: " and the equation, got ${JSON.stringify(prompt.slice(0, 80))}`
    return Result.fail(new EquationError({ text: prompt, offset: 0, message }))
  }
  return Result.flatMap(parseEquation((match[2] ?? "").trim()), equation =>
    equation.unknown === match[1]
      ? Result.succeed(equation)
      : Result.fail(
          new EquationError({
            text: prompt,
            offset: 0,
            message: `the prompt asks for ${match[1]}, but its equation is in ${equation.unknown}`
          })
        )
  )
}

/** Reads `-3`, `+3`, `7/5`, `-7 / 5` or `2.5`; a minus sign may be the one of mathematics. */
export const parseRational = (text: string): Rational | undefined => {
  const match = /^\s*([-+]?)\s*(\d{1,100})(?:\.(\d{1,100})|\s*\/\s*(-?\d{1,100}))?\s*$/.exec(plainText(text))
  if (match === null) return undefined
  const [, sign, whole = "", decimals = "", denominator] = match
  const numerator = BigInt(`${sign}${whole}${decimals}`)
  return rational(numerator, denominator === undefined ? 10n ** BigInt(decimals.length) : BigInt(denominator))
}

const finalAnswer = /Answer: *([a-z]) *= *([^\n]*)/g

/** The value that a response gives in the line of its last `Answer: x = …`; `undefined` when it gives none, or anything beside it. */
export const answerOf = (response: string, unknown: string): Rational | undefined => {
  const last = [...response.matchAll(finalAnswer)].findLast(match => match[1] === unknown)
  // A full stop after the number belongs to the sentence.
  return last === undefined ? undefined : parseRational((last[2] ?? "").replace(/\. *$/, ""))
}
