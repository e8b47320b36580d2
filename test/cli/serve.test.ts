import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { parameterSpecs } from "../../src/models/config.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { type Answered, events, post, serve, type Server } from "../support/server.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

let directory: ReturnType<typeof temporaryDirectory>
let teacher: Server
let tiny: Server
const tokenizer = loadFrom(shippedDirectory)

const template =
  "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if shout is defined %}HEY {% endif %}assistant:"

beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
  writeFileSync(join(directory.path, "tiny", "chat_template.jinja"), template)
  teacher = await serve(directory.path, [])
  tiny = await serve(directory.path, ["-m", "tiny", "--rows", "3"])
}, 120_000)
afterAll(async () => {
  await Promise.all([teacher, tiny].map(each => each?.stop("SIGKILL")))
  directory.remove()
})

const complete = (server: Server, body: object) => post(`${server.url}/completions`, body)
const chat = (server: Server, body: object) => post(`${server.url}/chat/completions`, body)

const generated = (...words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const { code, stderr, stdout } = pipeline(directory.path, ["generate", "--json", ...words])
  expect(code, stderr).toBe(0)
  return (JSON.parse(stdout) as { texts: ReadonlyArray<{ text: string }> }).texts.map(({ text }) => text)
}

/** Waits until nothing is waited for any more. */
const untilIdle = async (server: Server) => {
  for (;;) {
    const { waiting } = (await (await fetch(`${server.root}/health`)).json()) as { readonly waiting: number }
    if (waiting === 0) return
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

const people = "The people of the"

describe("pipeline serve", () => {
  it("gives the texts of `pipeline generate`, token by token and from masks", async () => {
    const seeded = { prompt: [people, "In"], n: 2, max_tokens: 10, seed: 3 }
    const { body, status } = await complete(teacher, seeded)
    expect(status).toBe(200)
    const texts = (found: Answered["body"]) => found["choices"].map((choice: { text: string }) => choice.text)
    expect(texts(body)).toEqual(generated("-n", "10", "--seed", "3", "--num-return-sequences", "2", people, "In"))
    expect(body["usage"]).toEqual({ prompt_tokens: 7, completion_tokens: 40, total_tokens: 47, forward_passes: 40 })
    expect(body["choices"].map(({ finish_reason, index }: never) => [index, finish_reason])).toEqual(
      [0, 1, 2, 3].map(i => [i, "length"])
    )
    const masks = { prompt: people, max_tokens: 8, mode: "diffusion", steps: 4, seed: 5 }
    const found = await complete(teacher, masks)
    expect(texts(found.body)).toEqual(
      generated("--mode", "diffusion", "-n", "8", "--steps", "4", "--seed", "5", people)
    )
    expect(found.body["usage"].forward_passes).toBe(4)
    const blocks = { prompt: people, max_tokens: 8, mode: "diffusion", block_length: 4, threshold: 0.5, temperature: 0 }
    const words = ["--block-length", "4", "--threshold", "0.5", "-t", "0"]
    expect(texts((await complete(teacher, blocks)).body)).toEqual(
      generated("--mode", "diffusion", "-n", "8", ...words, people)
    )
  })

  it("streams what it would answer at once", async () => {
    const bodies: ReadonlyArray<object> = [
      { prompt: [people, "In the"], max_tokens: 12, seed: 1 },
      { prompt: people, max_tokens: 12, temperature: 0, stop: ["States", "xyz"] },
      { prompt: people, max_tokens: 8, mode: "diffusion", block_length: 2, temperature: 0 },
      { prompt: people, max_tokens: 8, mode: "diffusion", seed: 2 }
    ]
    for (const body of bodies) {
      const { body: whole } = await complete(teacher, body)
      const told = await events(`${teacher.url}/completions`, { ...body, stream_options: { include_usage: true } })
      const choices = whole["choices"] as ReadonlyArray<{ index: number; text: string; finish_reason: string }>
      for (const { finish_reason, index, text } of choices) {
        const own = told.flatMap(event =>
          event["choices"].filter((choice: { index: number }) => choice.index === index)
        )
        expect(own.map((choice: { text: string }) => choice.text).join("")).toBe(text)
        expect(own.map((choice: { finish_reason: string | null }) => choice.finish_reason)).toEqual([
          ...own.slice(1).map(() => null),
          finish_reason
        ])
      }
      expect(told.at(-1)!["choices"]).toEqual([])
      expect(told.at(-1)!["usage"]).toEqual(whole["usage"])
    }
    const inBlocks = await events(`${teacher.url}/completions`, bodies[2]!)
    expect(inBlocks.length).toBeGreaterThan(3)
  })

  it("ends a text before a stop string, wherever the borders of tokens are", async () => {
    const asked = { prompt: people, max_tokens: 24, temperature: 0 }
    const { text } = (await complete(teacher, asked)).body["choices"][0] as { text: string }
    for (let at = 1; at < text.length - 5; at += 7) {
      const stop = text.slice(at, at + 4)
      const { body } = await complete(teacher, { ...asked, stop: [stop, "\u0000never"] })
      expect(body["choices"][0]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: "stop" })
      expect(body["usage"].forward_passes).toBe(body["usage"].completion_tokens)
    }
  })

  it("scores given texts as the equations do, and says which tokens are likeliest", async () => {
    const values = new Map(parameterSpecs(tinyConfig).map(spec => [spec.name, tinyWeight(spec.name)]))
    const prompts = [people, "In the beginning there was nothing but the people, and so on, and on, and on and on"]
    const body = { prompt: prompts, max_tokens: 0, echo: true, logprobs: 3 }
    const { body: found, status } = await complete(tiny, body)
    expect(status).toBe(200)
    for (const [i, prompt] of prompts.entries()) {
      const ids = [...tokenizer.encode(prompt)]
      const { logits } = bruteForward(tinyConfig, name => values.get(name)!, ids, true)
      const { logprobs, text } = found["choices"][i] as {
        text: string
        logprobs: {
          tokens: Array<string>
          token_logprobs: Array<number | null>
          top_logprobs: Array<Record<string, number> | null>
          text_offset: Array<number>
        }
      }
      expect(text).toBe(prompt)
      expect(logprobs.tokens.join("")).toBe(prompt)
      expect(logprobs.token_logprobs[0]).toBeNull()
      for (let t = 1; t < ids.length; t++) {
        const row = logits[t - 1]!
        const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0))
        expect(Math.abs(logprobs.token_logprobs[t]! - (row[ids[t]!]! - total))).toBeLessThan(1e-4)
        const best = Math.max(...row) - total
        expect(Math.abs(Math.max(...Object.values(logprobs.top_logprobs[t]!)) - best)).toBeLessThan(1e-4)
        expect(prompt.startsWith(logprobs.tokens[t]!, logprobs.text_offset[t])).toBe(true)
      }
    }
    // As lm-eval asks: tokens in, one token out, which is scored behind those of the prompt.
    const ids = [...tokenizer.encode(people)]
    const one = await complete(tiny, {
      prompt: [ids],
      max_tokens: 1,
      echo: true,
      logprobs: 1,
      temperature: 0,
      seed: 1234
    })
    const { logprobs } = one.body["choices"][0]
    expect(logprobs.token_logprobs).toHaveLength(ids.length + 1)
    expect(logprobs.token_logprobs.slice(1, -1)).toEqual(found["choices"][0].logprobs.token_logprobs.slice(1))
    const refused = await complete(tiny, { ...body, mode: "diffusion", max_tokens: 1 })
    expect(refused.status).toBe(400)
    expect(refused.body["error"]).toMatchObject({ param: "logprobs", code: "unsupported_parameter" })
  })

  it("answers a chat by the model's template", async () => {
    const messages = [
      { role: "system", content: "Be kind." },
      { role: "user", content: [{ type: "text", text: "Hello" }] }
    ]
    const written = "system: Be kind.\nuser: Hello\nassistant:"
    const asked = { messages, max_tokens: 6, temperature: 0 }
    const { body } = await chat(tiny, { ...asked, logprobs: true, top_logprobs: 2 })
    const expected = (await complete(tiny, { prompt: written, max_tokens: 6, temperature: 0 })).body["choices"][0].text
    expect(body["choices"][0].message).toEqual({ role: "assistant", content: expected, refusal: null })
    expect(body["choices"][0].logprobs.content).toHaveLength(6)
    expect(body["choices"][0].logprobs.content[0].top_logprobs).toHaveLength(2)
    expect(body["usage"].prompt_tokens).toBe(tokenizer.encode(written).length)
    const told = await events(`${tiny.url}/chat/completions`, asked)
    expect(told[0]!["choices"][0].delta).toEqual({ role: "assistant", content: "" })
    expect(told.map(event => event["choices"][0].delta.content ?? "").join("")).toBe(expected)
    const shouted = await chat(tiny, { ...asked, chat_template_kwargs: { shout: true } })
    expect(shouted.body["usage"].prompt_tokens).toBeGreaterThan(body["usage"].prompt_tokens)
    // The teacher has no template.
    const plain = `User: Hello${tokenizer.eosToken}\nAssistant:`
    const found = await chat(teacher, { messages: messages.slice(1), max_tokens: 4, temperature: 0 })
    expect(found.body["usage"].prompt_tokens).toBe(tokenizer.encode(plain).length)
    expect(teacher.stderr()).toMatch(/has no chat template/)
  })

  it("serves 64 clients at once, each with its own text", async () => {
    const bodyOf = (i: number) => ({
      prompt: `${"people and ".repeat(i % 7)}${people}`,
      max_tokens: 6 + (i % 5),
      seed: i,
      ...(i % 4 === 3 ? { mode: "diffusion", steps: 3, block_length: 4 } : {})
    })
    const alone = await Promise.all([0, 7, 22, 43, 63].map(async i => [i, await complete(teacher, bodyOf(i))] as const))
    const together = await Promise.all(
      Array.from({ length: 64 }, (_, i) =>
        i % 2 === 0
          ? complete(teacher, bodyOf(i)).then(({ body }) => body["choices"][0].text as string)
          : events(`${teacher.url}/completions`, bodyOf(i)).then(told =>
              told.map(event => event["choices"][0].text as string).join("")
            )
      )
    )
    expect(together.every(text => text.length > 0)).toBe(true)
    for (const [i, { body }] of alone) expect(together[i]).toBe(body["choices"][0].text)
    await untilIdle(teacher)
  }, 60_000)

  it("lets a client go in the middle of a stream, and gives its row to others", async () => {
    for (const mode of [{}, { mode: "diffusion", block_length: 1 }]) {
      const clients = Array.from({ length: 9 }, async () => {
        const abort = new AbortController()
        const response = await fetch(`${teacher.url}/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ prompt: people, max_tokens: 240, temperature: 0, stream: true, ...mode }),
          signal: abort.signal
        })
        await response.body!.getReader().read()
        abort.abort()
      })
      // One that asks for all at once is let go as well.
      const abort = new AbortController()
      const whole = fetch(`${teacher.url}/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt: people, max_tokens: 240, ...mode }),
        signal: abort.signal
      }).catch(() => "gone")
      await Promise.race(clients)
      abort.abort()
      await whole
      await Promise.all(clients)
      await untilIdle(teacher)
      const { status } = await complete(teacher, { prompt: people, max_tokens: 2, ...mode })
      expect(status).toBe(200)
    }
  }, 60_000)
})
