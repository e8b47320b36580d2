import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as fc from "fast-check"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { animation } from "../../src/cli/verbs/generate/animation.ts"
import { pipeline } from "../support/commandLine.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const tokenizer = loadFrom(shippedDirectory)
let directory: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "animation"))
  await writeTinyModel(join(directory, "tiny"))
})
afterAll(() => rmSync(directory, { recursive: true }))

/** Reads XML that has no declarations of types: throws where it is not well-formed. Elements with their attributes and the text in them. */
const elementsOf = (xml: string) => {
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(xml) || !xml.isWellFormed())
    throw new Error("no characters of XML")
  const found: Array<{ name: string; attributes: Map<string, string>; text: string }> = []
  const open: Array<(typeof found)[number]> = []
  const plain = (text: string) => {
    if (/&(?!(amp|lt|gt|quot|#39);)|</.test(text)) throw new Error(`not escaped: ${text}`)
    return text
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&quot;", '"')
      .replaceAll("&#39;", "'")
      .replaceAll("&amp;", "&")
  }
  for (const piece of xml.trim().split(/(<[^>]*>)/)) {
    if (!piece.startsWith("<")) {
      const text = plain(piece)
      if (open.length === 0 && text.trim() !== "") throw new Error("text outside of the root")
      if (open.length > 0) open.at(-1)!.text += text
      continue
    }
    const end = /^<\/([a-z]+)>$/.exec(piece)
    if (end !== null) {
      if (open.pop()?.name !== end[1]) throw new Error(`${piece} closes another element`)
      continue
    }
    const begin = /^<([a-z]+)((?: [a-zA-Z:-]+="[^"<]*")*) ?(\/?)>$/.exec(piece)
    if (begin === null) throw new Error(`no element: ${piece}`)
    const attributes = [...begin[2]!.matchAll(/ ([a-zA-Z:-]+)="([^"<]*)"/g)].map(
      match => [match[1]!, plain(match[2]!)] as const
    )
    const element = { name: begin[1]!, attributes: new Map(attributes), text: "" }
    if (element.attributes.size !== attributes.length) throw new Error(`an attribute twice: ${piece}`)
    found.push(element)
    if (begin[3] === "") open.push(element)
  }
  if (open.length > 0) throw new Error("elements stay open")
  return found
}

const stepsOf = (text: string, order: ReadonlyArray<number>) => {
  const ids = [...tokenizer.encode(text)]
  const at = ids.map((_, i) => order[i % order.length]! % 5)
  return Array.from({ length: 5 }, (_, step) => ids.map((id, i) => (at[i]! <= step ? id : tokenizer.maskId)))
}

const awkward = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom(
    "]]></style><script>alert(1)</script>",
    "<!-- & \" ' --> &amp; &#x0;",
    "\u0000\u0007\u001B[31m\uFFFE\u202Eabc",
    "日本語 👩‍👩‍👧 é",
    " \n\n  a\tb\r\n",
    "x".repeat(300)
  )
)

describe("the picture of a diffusion", () => {
  it("is well-formed and harmless, whatever the texts are, and shows all of them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(awkward, awkward), { maxLength: 3 }),
        fc.array(fc.nat(9), { minLength: 1 }),
        (texts, order) => {
          const given = texts.map(([prompt, text]) => ({ prompt, steps: stepsOf(text, order) }))
          const svg = animation(tokenizer, given, texts[0]?.[0] ?? "title")
          const elements = elementsOf(svg)
          expect(new Set(elements.map(({ name }) => name))).not.toContain("script")
          const attributes = new Set(elements.flatMap(element => [...element.attributes.keys()]))
          expect([...attributes].filter(name => name.startsWith("on") || name.includes("href"))).toEqual([])
          const visible = elements.filter(({ name }) => name === "text").map(({ text }) => text)
          const bare = (text: string) => text.replaceAll(/[\s\uFFFD\p{Mn}\p{Me}\p{Cc}\p{Cf}]/gu, "")
          const expected = texts.map(([prompt, text]) => prompt + tokenizer.decode(tokenizer.encode(text))).join("")
          expect(bare(visible.join(""))).toBe(bare(expected.toWellFormed().replaceAll(/[\uFFFE\uFFFF]/g, "")))
        }
      )
    )
  })

  it("shows each token from the step on that gave it, and a mask until then", () => {
    const mask = tokenizer.maskId
    const [a, b, c] = [...tokenizer.encode(" one two three")].slice(0, 3) as [number, number, number]
    // The second token is taken back once, and drawn anew.
    const steps = [
      [mask, c, mask],
      [a, mask, mask],
      [a, b, mask],
      [a, b, c]
    ]
    const elements = elementsOf(animation(tokenizer, [{ prompt: "p", steps }], "t"))
    const classes = (name: string, first: string) =>
      elements
        .filter(element => element.name === name && element.attributes.get("class")?.startsWith(first))
        .map(element => element.attributes.get("class"))
    expect(classes("text", "t ")).toEqual(["t s1", "t s2", "t s3"])
    expect(classes("rect", "m ")).toEqual(["m h1", "m h2", "m h3"])
    const style = elements.find(({ name }) => name === "style")!.text
    const starts = [1, 2, 3].map(step => Number(new RegExp(`@keyframes s${step}\\{0%,([\\d.]+)%`).exec(style)![1]))
    expect(starts).toEqual(starts.toSorted((x, y) => x - y))
    expect(style).toContain("prefers-color-scheme:dark")
    expect(style).toContain("prefers-reduced-motion:reduce")
    const [, , width, height] = elements[0]!.attributes.get("viewBox")!.split(" ").map(Number)
    for (const { attributes, name } of elements) {
      if (name !== "text") continue
      expect(Number(attributes.get("x")) + Number(attributes.get("textLength"))).toBeLessThanOrEqual(width!)
      expect(Number(attributes.get("y"))).toBeLessThanOrEqual(height!)
    }
  })

  it("colours each token by how sure the model was when it was revealed, and says what the colours mean", () => {
    const mask = tokenizer.maskId
    const ids = [...tokenizer.encode(" one two three")].slice(0, 3) as [number, number, number]
    const steps = [
      [mask, ids[1], mask],
      [ids[0], ids[1], ids[2]]
    ]
    const confidences = [
      [NaN, 0.93, NaN],
      [0.1, 0.93, 0.6]
    ]
    const elements = elementsOf(animation(tokenizer, [{ prompt: "p", steps, confidences }], "t"))
    const tokens = elements.filter(
      ({ attributes, name }) => name === "text" && attributes.get("class")!.startsWith("t ")
    )
    expect(tokens.map(({ attributes }) => attributes.get("class"))).toEqual(["t s1 c3", "t s0 c0", "t s1 c1"])
    const legend = elements.filter(({ attributes, name }) => name === "text" && /^[lc]/.test(attributes.get("class")!))
    expect(legend.map(({ attributes, text }) => [attributes.get("class"), text.trim()])).toEqual([
      ["l", "probability when revealed:"],
      ["c0", "≥ 0.9"],
      ["c1", "≥ 0.5"],
      ["c2", "≥ 0.25"],
      ["c3", "< 0.25"]
    ])
    const style = elements.find(({ name }) => name === "style")!.text
    for (const level of [0, 1, 2, 3]) expect(style.match(new RegExp(`--c${level}:#`, "g"))).toHaveLength(2)
    const [, , , height] = elements[0]!.attributes.get("viewBox")!.split(" ").map(Number)
    for (const { attributes } of legend) expect(Number(attributes.get("y"))).toBeLessThan(height!)
    expect(Number(legend[0]!.attributes.get("y"))).toBeGreaterThan(Number(tokens[0]!.attributes.get("y")))
  })

  it("is what --history-out FILE.svg writes, and other names are refused", () => {
    const words = ["generate", "-m", "tiny", "--mode", "diffusion", "-n", "6", "--steps", "3"]
    const { code, stderr } = pipeline(directory, [...words, "--history-out", "steps.svg", "The <people>", "In"])
    expect(code, stderr).toBe(0)
    const svg = readFileSync(join(directory, "steps.svg"), "utf8")
    expect(elementsOf(svg).filter(({ attributes }) => attributes.get("class") === "l")).toHaveLength(1)
    const shown = elementsOf(svg).filter(({ attributes }) => attributes.get("class") === "p")
    expect(shown.map(({ text }) => text).join("")).toBe("The <people>In")
    // A parser of XML that is not ours agrees, where there is one.
    const python = spawnSync(
      "python3",
      ["-c", "import sys, xml.dom.minidom as m; m.parseString(sys.stdin.buffer.read())"],
      {
        input: svg
      }
    )
    if (python.error === undefined) expect([python.status, String(python.stderr)]).toEqual([0, ""])
    const refused = (file: string) => pipeline(directory, [...words, "--history-out", file, "The"])
    expect(refused("steps.txt")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/steps\.txt: must end in \.jsonl/) as string
    })
    writeFileSync(join(directory, "file"), "")
    expect(refused("file/steps.svg")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/cannot be written: ENOTDIR/) as string
    })
  })
})
