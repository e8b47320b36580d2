import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { findChatTemplate, jinjaTemplate, plainTemplate } from "../../src/tokens/chatTemplate.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => void (directory = temporaryDirectory()))
afterAll(() => directory.remove())

/** In the manner of the ChatML templates. */
const chatml =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"

const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: " Hello " }
] as const

const filesOf = (name: string, contents: { readonly [file: string]: string }) => {
  const folder = join(directory.path, name)
  mkdirSync(folder)
  return Object.entries(contents).map(([file, text]) => {
    writeFileSync(join(folder, file), text)
    return { name: file, path: join(folder, file) }
  })
}

describe("chat templates", () => {
  it.effect("write a conversation up to where the assistant speaks", () =>
    Effect.gen(function* () {
      const { render } = yield* jinjaTemplate(chatml, "here", {})
      const text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
      expect(yield* render(messages)).toBe(text)
      expect(yield* render(messages, { enable_thinking: false })).toBe(`${text}<think>\n\n</think>\n\n`)
    })
  )

  it.effect("are found in a file of their own before the tokenizer's configuration, and there by name", () =>
    Effect.gen(function* () {
      const found = (name: string, contents: { readonly [file: string]: string }) =>
        Effect.flatMap(findChatTemplate(filesOf(name, contents)), template =>
          Option.isNone(template) ? Effect.succeed(undefined) : template.value.render(messages)
        )
      const config = (fields: object) => ({ "tokenizer_config.json": JSON.stringify(fields) })
      expect(yield* found("text", config({ chat_template: "{{ bos_token }}A", bos_token: { content: "<s>" } }))).toBe(
        "<s>A"
      )
      const both = { ...config({ chat_template: "A" }), "chat_template.jinja": "B{{ messages | length }}" }
      expect(yield* found("both", both)).toBe("B2")
      const several = [
        { name: "tool_use", template: "T" },
        { name: "default", template: "D" }
      ]
      expect(yield* found("several", config({ chat_template: several }))).toBe("D")
      expect(yield* found("none", config({ eos_token: "x" }))).toBeUndefined()
      expect(yield* found("nothing", {})).toBeUndefined()
    })
  )

  it.effect("that are wrong, refuse, or never end are errors that say so", () =>
    Effect.gen(function* () {
      const broken = yield* Effect.flip(jinjaTemplate("{% for %}", "a.json", {}))
      expect(broken.message).toMatch(/^the chat template of a\.json: /)
      const refusal = (template: string) =>
        Effect.flatMap(jinjaTemplate(template, "a.json", {}), ({ render }) => Effect.flip(render(messages)))
      expect((yield* refusal("{{ raise_exception('no system role') }}")).message).toBe(
        "the chat template of a.json: no system role"
      )
      expect((yield* refusal("{% for i in range(1000000000) %}x{% endfor %}")).message).toMatch(
        /range\(\) of more than/
      )
      const nested = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
      expect((yield* refusal(nested)).message).toMatch(/takes more than 2000 ms/)
    })
  )

  it.effect("that are not there are the plain form of training data", () =>
    Effect.gen(function* () {
      const { render, source } = plainTemplate({ eosToken: "<end>" })
      expect(source).toBeUndefined()
      expect(yield* render(messages)).toBe("System: Be brief.<end>\nUser: Hello<end>\nAssistant:")
    })
  )
})
