/** A secret that a download needs reaches its server and nothing else: no file of the cache, no output, whatever goes wrong. */
import { createHash } from "node:crypto"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"
import { type Ended, program } from "../support/program.ts"

const secret = "5ecr3tSignature0f4nAddress"
const documents = `{"text":"one"}\n`
const sha256 = createHash("sha256").update(documents).digest("hex")

let server: Server
let origin: string
let seen: Array<string>
let answer: { readonly status: number; readonly body: string; readonly headers?: Record<string, string> }
let directory: ReturnType<typeof temporaryDirectory>

beforeAll(async () => {
  server = createServer((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization ?? ""}`)
    response.writeHead(answer.status, answer.headers).end(answer.body)
  })
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  origin = `127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  seen = []
  answer = { status: 200, body: documents }
  directory = temporaryDirectory()
  return () => directory.remove()
})

const download = (source: string, environment: Record<string, string> = {}): Promise<Ended> =>
  program(
    [
      "run",
      "pretrain-teacher",
      "--only",
      "download-documents/held-out",
      "--set",
      `download-documents/held-out.source=${source}`,
      "--set",
      `download-documents/held-out.sha256=${sha256}`
    ],
    { cwd: directory.path, environment: { HF_HOME: "/nonexistent", ...environment } }
  )

/** Files of the cache, and the output, that hold the secret. */
const leaks = ({ stderr, stdout }: Ended): ReadonlyArray<string> => {
  const cache = join(directory.path, "cache")
  const files = existsSync(cache) ? readdirSync(cache, { recursive: true }).map(file => join(cache, String(file))) : []
  return [
    ...files.filter(file => statSync(file).isFile() && readFileSync(file).includes(secret)),
    ...(`${stdout}${stderr}`.includes(secret) ? [`${stdout}${stderr}`] : [])
  ]
}

describe("the query of an address", () => {
  it("comes from the environment, and is nowhere to be found afterwards", async () => {
    const ended = await download(`http://${origin}/a.jsonl?$SIGNED`, { SIGNED: `X-Amz-Signature=${secret}` })
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(seen, [`/a.jsonl?X-Amz-Signature=${secret} `])
    assert.deepStrictEqual(leaks(ended), [])
  })

  it("is in no record of a failure, also when the server repeats it", async () => {
    answer = { status: 403, body: secret, headers: { "x-error-message": `no ${secret}`, "x-error-code": secret } }
    const ended = await download(`http://${origin}/a.jsonl?$SIGNED`, { SIGNED: `sig=${secret}` })
    assert.strictEqual(ended.code, 1, ended.stdout)
    assert.strictEqual(seen.length, 1)
    assert.include(ended.stderr, "403")
    assert.deepStrictEqual(leaks(ended), [])
  })

  it("is refused where it would be recorded", async () => {
    const ended = await download(`http://${origin}/a.jsonl?X-Amz-Signature=${secret}`)
    assert.notStrictEqual(ended.code, 0)
    assert.include(ended.stderr, "environment variable")
    assert.deepStrictEqual([seen, leaks(ended)], [[], []])
  })

  it("that no variable holds is an error that names the variable", async () => {
    const ended = await download(`http://${origin}/a.jsonl?$SIGNED`)
    assert.include(ended.stderr, "SIGNED")
    assert.strictEqual(ended.code, 1)
  })
})

it("a user name and a password are refused where they would be recorded", async () => {
  const ended = await download(`http://user:${secret}@${origin}/a.jsonl`)
  assert.notStrictEqual(ended.code, 0)
  assert.deepStrictEqual([seen, leaks(ended)], [[], []])
})

it.each(["token", "path", "query", "user"])("of a mirror's address, the %s is recorded nowhere", async place => {
  answer = { status: 500 + 1, body: "", headers: { "x-error-message": secret } }
  const endpoint = {
    token: `http://${origin}`,
    path: `http://${origin}/${secret}`,
    query: `http://${origin}?token=${secret}`,
    user: `http://user:${secret}@${origin}`
  }[place]!
  const ended = await download("hf://datasets/a/b@main/x.jsonl", {
    HF_ENDPOINT: endpoint,
    HF_TOKEN: place === "token" ? secret : "other-token"
  })
  assert.notStrictEqual(ended.code, 0)
  assert.deepStrictEqual(leaks(ended), [])
  if (place === "token") assert.include(seen[0], `Bearer ${secret}`)
})
