import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const tokenizer = loadFrom(shippedDirectory)
const template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "plain"))
  await writeTinyModel(join(directory.path, "tiny"))
  writeFileSync(join(directory.path, "tiny", "chat_template.jinja"), template)
})
afterAll(() => directory.remove())

interface Said {
  readonly content: string
  readonly tokens: number
  readonly stopped: string
  readonly forwards: number
}

const converse = (input: string, ...words: ReadonlyArray<string>) => {
  const { NO_COLOR: _, ...environment } = process.env
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, "../../bin/pipeline.mjs"), "generate", "--chat", "--json", ...words],
    { cwd: directory.path, input, encoding: "utf8", env: { ...environment, NO_COLOR: "1" } }
  )
  const said = stdout
    .split(/(?<=^})\n/m)
    .filter(part => part.trim() !== "")
    .map(part => JSON.parse(part) as Said)
  return { code: status, stderr, said }
}

const generated = (prompt: string, ...words: ReadonlyArray<string>): string => {
  const { stdout } = pipeline(directory.path, ["generate", "--json", ...words, prompt])
  return (JSON.parse(stdout) as { texts: ReadonlyArray<{ text: string }> }).texts[0]!.text
}

describe("pipeline generate --chat", () => {
  for (const mode of ["ar", "diffusion"])
    it(`replies to what the template makes of the conversation so far, until it is cleared: ${mode}`, () => {
      const greedy = [
        "-m",
        "tiny",
        "--mode",
        mode,
        "-n",
        "5",
        "-t",
        "0",
        ...(mode === "ar" ? [] : ["--alg", "entropy", "--alg-temp", "0"])
      ]
      const { code, said, stderr } = converse("Hello\n\nAnd you?\nclear\nHello\nexit\nnever\n", ...greedy)
      expect([code, stderr]).toEqual([0, ""])
      const system = "<system>Be kind.\n"
      const [first, second, third] = said
      expect(said).toHaveLength(3)
      const reply = (text: string) => text.trim()
      expect(first!.content).toBe(reply(generated("<user>Hello\n<assistant>", ...greedy)))
      const before = `<user>Hello\n<assistant>${first!.content}\n`
      expect(second!.content).toBe(reply(generated(`${before}<user>And you?\n<assistant>`, ...greedy)))
      expect(third!.content).toBe(first!.content)
      const told = converse("Hello\n", ...greedy, "--system", "Be kind.").said
      expect(told[0]!.content).toBe(reply(generated(`${system}<user>Hello\n<assistant>`, ...greedy)))
      expect(told[0]).toMatchObject({ tokens: 5, stopped: "length", forwards: 5 })
      // Turns on the command line are the same conversation.
      const words = pipeline(directory.path, ["generate", "--chat", "--json", ...greedy, "Hello", "And you?"])
      expect(words.stdout.match(/"content"/g)).toHaveLength(2)
      expect(words.stdout).toContain(JSON.stringify(second!.content))
    }, 30_000)

  it("says that there is no template, and writes turns as training data without one", () => {
    const greedy = ["-m", "plain", "-n", "4", "-t", "0"]
    const { said, stderr } = converse("Hello\n", ...greedy)
    expect(stderr).toMatch(/plain has no chat template: turns are written as "Role: text"/)
    const text = generated(`User: Hello${tokenizer.eosToken}\nAssistant:`, ...greedy)
    expect(said[0]!.content).toBe(text.trim())
  })

  it("ends a reply where the model's configuration says that one ends", () => {
    const greedy = ["-m", "tiny", "-n", "5", "-t", "0"]
    const { tokens } = (
      JSON.parse(pipeline(directory.path, ["generate", "--json", ...greedy, "<user>Hello\n<assistant>"]).stdout) as {
        texts: ReadonlyArray<{ tokens: ReadonlyArray<number> }>
      }
    ).texts[0]!
    const file = join(directory.path, "tiny", "generation_config.json")
    writeFileSync(file, JSON.stringify({ eos_token_id: [tokenizer.eosId, tokens[2]] }))
    try {
      const expected = tokens.indexOf(tokens[2]!)
      expect(converse("Hello\n", ...greedy).said[0]).toMatchObject({ tokens: expected, stopped: "end of text" })
      writeFileSync(file, JSON.stringify({ eos_token_id: "x" }))
      expect(converse("Hello\n", ...greedy).stderr).toMatch(
        /generation_config.json: eos_token_id is "x"; it must be a token's id/
      )
    } finally {
      writeFileSync(file, "{}")
    }
  })

  it("says what is wrong: a conversation that is too long, a template that refuses", () => {
    const long = converse(`${"people ".repeat(80)}\n`, "-m", "tiny")
    expect([long.code, long.stderr]).toEqual([
      2,
      expect.stringMatching(/conversation: has \d+ tokens, and the context 64.*\n {2}clear forgets/)
    ])
    const file = join(directory.path, "plain", "tokenizer_config.json")
    const config = JSON.parse(readFileSync(file, "utf8")) as object
    writeFileSync(file, JSON.stringify({ ...config, chat_template: "{{ raise_exception('no users') }}" }))
    const refusal = converse("Hello\n", "-m", "plain")
    expect([refusal.code, refusal.stderr]).toEqual([2, expect.stringMatching(/tokenizer_config\.json: no users/)])
    writeFileSync(file, JSON.stringify({ ...config, chat_template: "{% if %}" }))
    expect(converse("Hello\n", "-m", "plain")).toMatchObject({ code: 1 })
    const wrong = (...words: ReadonlyArray<string>) => pipeline(directory.path, ["generate", "-m", "tiny", ...words])
    expect(wrong("--system", "x", "y").stderr).toMatch(/--system: goes with --chat/)
    expect(wrong("--chat", "--num-return-sequences", "2", "y").stderr).toMatch(/a turn of --chat has one reply/)
  })
})
