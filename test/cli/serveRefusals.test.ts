import { createServer } from "node:http"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { events, post, serve, type Server } from "../support/server.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
let server: Server
const key = "a token, not short"

beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
  server = await serve(directory.path, ["-m", "tiny", "--served-name", "small", "--queue", "6", "--rows", "2"])
}, 120_000)
afterAll(async () => {
  await server?.stop("SIGKILL")
  directory.remove()
})

const prompt = "The people"

describe("pipeline serve refuses", () => {
  it("what is wrong, by name, in OpenAI's shape", async () => {
    const completions = `${server.url}/completions`
    const chats = `${server.url}/chat/completions`
    const cases: ReadonlyArray<readonly [url: string, body: unknown, status: number, message: RegExp, param?: string]> =
      [
        [completions, "{", 400, /the body is no JSON: line 1, column 2/],
        [completions, "[]", 400, /must be a JSON object, got a list|must be a JSON object/],
        [completions, {}, 400, /prompt/, "prompt"],
        [completions, { prompt: "" }, 400, /prompt is empty/, "prompt"],
        [completions, { prompt: [] }, 400, /empty list/, "prompt"],
        [completions, { prompt: [[]] }, 400, /prompt is empty/, "prompt"],
        [completions, { prompt: [1, 99_999] }, 400, /there is no token 99999; the tokenizer has 2048/, "prompt"],
        [completions, { prompt: 7 }, 400, /prompt/, "prompt"],
        [completions, { prompt, model: "gpt-4" }, 404, /"gpt-4" is not served here; this is "small"/, "model"],
        [completions, { prompt, max_tokens: 0 }, 400, /needs echo/, "max_tokens"],
        [completions, { prompt, max_tokens: -1 }, 400, /max_tokens/, "max_tokens"],
        [completions, { prompt, max_tokens: 100 }, 400, /the context has 64; at most \d+ fit/, "max_tokens"],
        [completions, { prompt: `${prompt} `.repeat(70) }, 400, /too long/, "prompt"],
        [completions, { prompt, stop: 7 }, 400, /stop/, "stop"],
        [completions, { prompt, stop: ["a", "b", "c", "d", "e"] }, 400, /stop/, "stop"],
        [completions, { prompt, stop: [""] }, 400, /stop.*is empty/, "stop"],
        [completions, { prompt, stop: "a\uFFFD" }, 400, /stop.*U\+FFFD/, "stop"],
        [completions, { prompt, temperature: -1 }, 400, /temperature: must be a number from 0 on/, "temperature"],
        [completions, { prompt, top_p: 2 }, 400, /top_p: must be a number above 0/, "top_p"],
        [completions, { prompt, n: 0 }, 400, /n /, "n"],
        [completions, { prompt, seed: "x" }, 400, /seed/, "seed"],
        [completions, { prompt, logprobs: 6 }, 400, /logprobs/, "logprobs"],
        [completions, { prompt, echo: true, stream: true }, 400, /echo does not go with stream/, "echo"],
        [completions, { prompt, steps: 4 }, 400, /steps: goes with mode diffusion/, "steps"],
        [completions, { prompt, mode: "diffusion", alg: "best" }, 400, /alg/, "alg"],
        [completions, { prompt, mode: "diffusion", block_length: 0 }, 400, /block_length: must be/, "block_length"],
        [completions, { prompt, mode: "diffusion", block_length: 2, alg: "p2" }, 400, /p2 does not go block/, "alg"],
        [completions, { prompt, mode: "diffusion", logprobs: 1 }, 400, /no probability of a token/, "logprobs"],
        [
          completions,
          { prompt, frequency_penalty: 0.5 },
          400,
          /frequency_penalty is not supported/,
          "frequency_penalty"
        ],
        [completions, { prompt, best_of: 3 }, 400, /best_of is not supported/, "best_of"],
        [completions, { prompt, max_token: 3 }, 400, /max_token is no field .*did you mean max_tokens/, "max_token"],
        [completions, { prompt, constructor: 3 }, 400, /constructor is no field/, "constructor"],
        [chats, { messages: [] }, 400, /messages/, "messages"],
        [chats, { messages: [{ role: "robot", content: "x" }] }, 400, /role/, "messages"],
        [
          chats,
          { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] },
          400,
          /messages/,
          "messages"
        ],
        [chats, { messages: [{ role: "user", content: "x" }], tools: [{}] }, 400, /tools is not supported/, "tools"],
        [chats, { messages: [{ role: "user", content: "x" }], top_logprobs: 2 }, 400, /needs logprobs/, "top_logprobs"],
        [
          chats,
          { messages: [{ role: "user", content: "x" }], chat_template_kwargs: { messages: 1 } },
          400,
          /chat_template_kwargs\.messages is given/,
          "chat_template_kwargs"
        ],
        [`${server.url}/embeddings`, {}, 404, /there is no \/v1\/embeddings here/],
        [`${server.url}/models`, {}, 405, /takes GET, not POST/]
      ]
    for (const [url, body, status, message, param] of cases) {
      const found = await post(url, body)
      expect([body, found.status]).toEqual([body, status])
      expect(found.body["error"].message).toMatch(message)
      expect(found.body["error"].param).toBe(param ?? null)
      expect(found.body["error"].type).toBe("invalid_request_error")
    }
    const typed = await post(completions, { prompt }, { "content-type": "text/plain" })
    expect([typed.status, typed.body["error"].message]).toEqual([415, expect.stringMatching(/application\/json/)])
    const large = await post(completions, JSON.stringify({ prompt: "a".repeat(9 * 2 ** 20) }))
    expect(large.status).toBe(413)
  })

  it("nothing that changes no result, and what is null", async () => {
    const harmless = {
      prompt,
      max_tokens: 2,
      model: "small",
      user: "me",
      frequency_penalty: 0,
      logit_bias: {},
      best_of: 1,
      suffix: null,
      stop: null,
      logprobs: null
    }
    expect((await post(`${server.url}/completions`, harmless)).status).toBe(200)
    const models = (await (await fetch(`${server.url}/models`)).json()) as { data: ReadonlyArray<object> }
    expect(models.data).toMatchObject([{ id: "small", object: "model", max_model_len: 64 }])
    expect((await fetch(`${server.url}/models/small`)).status).toBe(200)
    expect((await fetch(`${server.url}/models/large`)).status).toBe(404)
    expect((await fetch(`${server.url}/models/%E0%A4%A`)).status).toBe(404)
  })

  it("more texts than may wait, with 429, and serves those that may", async () => {
    const body = { prompt, max_tokens: 40, n: 3 }
    const found = await Promise.all(Array.from({ length: 6 }, () => post(`${server.url}/completions`, body)))
    const statuses = found.map(({ status }) => status)
    expect(statuses.filter(status => status === 200).length).toBeGreaterThanOrEqual(2)
    for (const { body: answered, headers, status } of found) {
      if (status === 200) continue
      expect(status).toBe(429)
      expect(answered["error"]).toMatchObject({ type: "rate_limit_error", code: "overloaded" })
      expect(headers.get("retry-after")).toBe("1")
    }
    // What never fits need not come again.
    const alone = await post(`${server.url}/completions`, { ...body, n: 7 })
    expect([alone.status, alone.body["error"].message]).toEqual([400, expect.stringMatching(/7 texts.*at most 6/)])
  })

  it("pages of browsers, and names that lead here from elsewhere", async () => {
    const asked = await post(`${server.url}/completions`, { prompt, max_tokens: 2 }, { origin: "https://evil.example" })
    expect([asked.status, asked.body["error"].code]).toEqual([403, "origin_not_allowed"])
    // `fetch` sets the header itself.
    const { port } = new URL(server.url)
    const { request } = await import("node:http")
    const status = await new Promise<number | undefined>(resolve =>
      request({ port, host: "127.0.0.1", path: "/v1/models", headers: { host: `evil.example:${port}` } }, response => {
        response.resume()
        resolve(response.statusCode)
      }).end()
    )
    expect(status).toBe(403)
  })

  it("who has no token, and lets pages in that it was told of", async () => {
    const words = ["-m", "tiny", "--host", "0.0.0.0", "--allow-origin", "http://localhost:3000"]
    const open = await serve(directory.path, words, { PIPELINE_API_KEY: key })
    try {
      const url = `${open.url.replace("0.0.0.0", "127.0.0.1")}/completions`
      const body = { prompt, max_tokens: 2 }
      const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
      expect((await post(url, body)).body["error"]).toMatchObject({
        type: "authentication_error",
        code: "invalid_api_key"
      })
      expect((await post(url, body, bearer("a token, not shorT"))).status).toBe(401)
      expect((await post(url, body, bearer(`${key}x`))).status).toBe(401)
      expect((await post(url, body, bearer(key))).status).toBe(200)
      expect((await fetch(url.replace("/v1/completions", "/health"))).status).toBe(200)
      const origin = { origin: "http://localhost:3000" }
      const allowed = await post(url, body, { ...bearer(key), ...origin })
      expect([allowed.status, allowed.headers.get("access-control-allow-origin")]).toEqual([200, origin.origin])
      const preflight = await fetch(url, { method: "OPTIONS", headers: origin })
      expect([preflight.status, preflight.headers.get("access-control-allow-headers")]).toEqual([
        204,
        "authorization, content-type"
      ])
      expect((await post(url, body, { ...bearer(key), origin: "http://localhost:3001" })).status).toBe(403)
      expect(`${open.stderr()}`).not.toContain(key)
    } finally {
      await open.stop("SIGKILL")
    }
  })

  it("ports and hosts that it cannot listen on, and other machines without a token", async () => {
    const taken = createServer().listen(0, "127.0.0.1")
    await new Promise(resolve => taken.once("listening", resolve))
    const { port } = taken.address() as { readonly port: number }
    const refused = (expected: RegExp, ...words: ReadonlyArray<string>) => {
      const { code, stderr } = pipeline(directory.path, ["serve", "-m", "tiny", ...words])
      expect([code, stderr]).toEqual([2, expect.stringMatching(expected)])
    }
    refused(new RegExp(`--port ${port}: is in use on 127\\.0\\.0\\.1.*\\n {2}--port 0`), "--port", String(port))
    taken.close()
    refused(
      /--host 203\.0\.113\.9: is no address of this machine/,
      "--host",
      "203.0.113.9",
      "--api-key",
      "x",
      "--port",
      "0"
    )
    refused(/--host 0\.0\.0\.0: other machines could ask\n {2}set a token/, "--host", "0.0.0.0")
    refused(/--context 65: the model knows 64 positions/, "--context", "65")
    refused(/--port 70000: must be a port/, "--port", "70000")
    refused(/--temperature: must be/, "-t", "-1")
  })
})

describe("pipeline serve ends", () => {
  it("when it is asked to: what is under way is finished, and nothing more is taken", async () => {
    const own = await serve(directory.path, ["--grace", "60"])
    const body = { prompt: "The people of the", max_tokens: 120, temperature: 0 }
    const expected = (await post(`${own.url}/completions`, body)).body["choices"][0].text
    const told = events(`${own.url}/completions`, body)
    const whole = post(`${own.url}/completions`, body)
    for (;;) {
      const { waiting } = (await (await fetch(`${own.root}/health`)).json()) as { readonly waiting: number }
      if (waiting === 2) break
    }
    const ended = own.stop("SIGINT")
    expect((await told).map(event => event["choices"][0].text).join("")).toBe(expected)
    expect((await whole).body["choices"][0].text).toBe(expected)
    expect(await ended).toBe(0)
    expect(own.stderr()).toMatch(/stopping: requests under way are finished/)
  }, 60_000)

  it("telling those that take longer than it waits", async () => {
    const own = await serve(directory.path, ["--grace", "0"])
    const body = { prompt: "The people of the", max_tokens: 240, mode: "diffusion", block_length: 1, temperature: 0 }
    const whole = post(`${own.url}/completions`, { ...body, seed: 1, temperature: 1 })
    // The answer begins with the first piece.
    const begun = await fetch(`${own.url}/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...body, stream: true })
    })
    const ended = own.stop()
    const last = (await begun.text()).trimEnd().split("\n\n").at(-1)!
    const { error } = JSON.parse(last.replace(/^data: /, "")) as { readonly error: object }
    expect(error).toMatchObject({ code: "stopping", message: "the server is stopping" })
    const { body: answered, status } = await whole
    expect([status, answered["error"].code]).toEqual([503, "stopping"])
    expect(await ended).toBe(0)
  }, 60_000)

  it("at once at a second signal, by that signal, in the middle of whatever it computes", async () => {
    for (const mode of [{}, { mode: "diffusion", block_length: 1 }, {}, { mode: "diffusion", block_length: 8 }]) {
      const own = await serve(directory.path, ["--grace", "60"])
      const response = await fetch(`${own.url}/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt: "The people of the", max_tokens: 240, stream: true, ...mode })
      })
      await response.body!.getReader().read()
      own.process.kill("SIGINT")
      // Signals that come together count as one.
      while (!own.stderr().includes("stopping")) await new Promise(resolve => setTimeout(resolve, 5))
      await new Promise(resolve => setTimeout(resolve, 170))
      expect(await own.stop("SIGINT")).toBeNull()
      expect([own.process.signalCode, own.stderr()]).toEqual(["SIGINT", expect.not.stringMatching(/Napi|terminate/)])
    }
  }, 60_000)
})
