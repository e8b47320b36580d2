/** The endpoint: routes, limits and errors over Effect's HTTP server. */
import { createServer } from "node:http"
import { NodeHttpServer } from "@effect/platform-node"
import { ByteSize, Cause, Effect, Option, Stream } from "effect"
import { HttpIncomingMessage, HttpServerError, HttpServerRequest, HttpServerResponse as Response } from "effect/http"
import { ConfigError } from "../pipeline/ConfigError.ts"
import { messageOf } from "../pipeline/Problem.ts"
import { chat, complete, modelCard, type Served } from "./api.ts"
import { ApiError, errorBody, invalid } from "./apiError.ts"
import { corsOf, type GateOptions, keyRefusal, placeRefusal } from "./gate.ts"

const decoded = Option.liftThrowable(decodeURIComponent)

/** Bytes of a body: thousands of prompts as lists of tokens. */
const mostBytes = 8 * 2 ** 20

export interface EndpointOptions extends GateOptions {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  /** Seconds that requests have to be finished when the server stops. */
  readonly grace: number
  /** Told of every request when it is answered. */
  readonly onRequest?: (line: {
    readonly method: string
    readonly path: string
    readonly status: number
    readonly ms: number
  }) => void
}

export interface Endpoint {
  readonly url: string
  /** Takes no request any more, waits for those that are under way, and tells those that take too long. */
  readonly stop: Effect.Effect<void>
}

/** How long a connection stays open between requests, in ms: longer than clients keep one, so that none is closed in the moment in which it asks. */
const keepAliveTimeout = 75_000

/** How long those that were told may take to hear it, in ms. */
const farewell = 2000

const encoder = new TextEncoder()
const event = (data: unknown): Uint8Array =>
  encoder.encode(`data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`)

const refused = (error: ApiError) =>
  Response.jsonUnsafe(errorBody(error), {
    status: error.status,
    headers: error.status === 429 || error.status === 503 ? { "retry-after": "1" } : {}
  })

const unexpected = (cause: Cause.Cause<unknown>): ApiError =>
  new ApiError({ status: 500, type: "server_error", message: messageOf(Cause.squash(cause)) })

const bodyOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, ApiError> => {
  const type = request.headers["content-type"]
  if (type === undefined || !/^application\/json\s*(;|$)/i.test(type))
    return Effect.fail(invalid(`the body must be application/json, got ${type ?? "no Content-Type"}`, { status: 415 }))
  return request.text.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(mostBytes)),
    Effect.mapError(error =>
      HttpServerError.isHttpServerError(error) &&
      error.reason._tag === "RequestParseError" &&
      error.reason.reason === "BodyTooLarge"
        ? invalid(`the body has more than ${mostBytes} bytes`, { status: 413 })
        : invalid(`the body could not be read: ${error.message}`)
    )
  )
}

/** Answers one request, whoever may ask. */
const route = (served: Served, created: number, request: HttpServerRequest.HttpServerRequest, path: string) =>
  Effect.gen(function* () {
    const { method } = request
    const posts = { "/v1/completions": complete, "/v1/chat/completions": chat }
    const post = Object.hasOwn(posts, path) ? posts[path as keyof typeof posts] : undefined
    const isModel = path === "/v1/models" || path.startsWith("/v1/models/")
    if (post === undefined && !isModel)
      return yield* invalid(
        `there is no ${path} here; see /v1/models, /v1/completions, /v1/chat/completions, /health`,
        {
          status: 404
        }
      )
    const expected = post === undefined ? "GET" : "POST"
    if (method !== expected) return yield* invalid(`${path} takes ${expected}, not ${method}`, { status: 405 })
    const card = modelCard(served, created)
    if (post === undefined) {
      if (path === "/v1/models") return Response.jsonUnsafe({ object: "list", data: [card] })
      const named = path.slice("/v1/models/".length)
      // What is no address names no model.
      const asked = Option.getOrElse(decoded(named), () => named)
      if (asked === served.name) return Response.jsonUnsafe(card)
      return yield* invalid(`the model ${JSON.stringify(asked)} is not served here`, {
        status: 404,
        code: "model_not_found"
      })
    }
    const answer = yield* post(served, yield* bodyOf(request))
    if (answer.type === "whole") return Response.jsonUnsafe(yield* answer.body)
    // The first event is waited for: what goes wrong before it has a status.
    const pull = yield* Stream.toPull(answer.events)
    const first = yield* Effect.catchIf(pull, Cause.isDone, () => Effect.succeed([]))
    const events = Stream.concat(Stream.fromIterable(first), Stream.fromPull(Effect.succeed(pull)))
    const written = events.pipe(
      Stream.map(event),
      Stream.concat(Stream.succeed(event("[DONE]"))),
      Stream.catch(error => Stream.succeed(event(errorBody(error))))
    )
    return Response.stream(written, {
      contentType: "text/event-stream",
      headers: { "cache-control": "no-cache", "x-accel-buffering": "no" }
    })
  })

const pathOf = (url: string): string => {
  const path = url.replace(/[?#].*$/s, "")
  return path.length > 1 ? path.replace(/\/+$/, "") : path
}

/** Starts listening; closing the scope ends it. */
export const listen = (served: Served, options: EndpointOptions) =>
  Effect.gen(function* () {
    const created = Math.floor(Date.now() / 1000)
    let [inFlight, stopping] = [0, false]
    const app = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const begun = performance.now()
      const path = pathOf(request.url)
      const { headers, method } = request
      inFlight++
      yield* Effect.addFinalizer(() => Effect.sync(() => void inFlight--))
      const cors = corsOf(options, headers)
      const refusal = placeRefusal(options, headers)
      const handled = Effect.gen(function* () {
        if (refusal !== undefined) return yield* refusal
        if (method === "OPTIONS") return Response.empty({ status: 204 })
        if (path === "/health")
          return Response.jsonUnsafe(
            { status: stopping ? "stopping" : "ok", model: served.name, waiting: served.service.outstanding() },
            { status: stopping ? 503 : 200 }
          )
        const wrong = keyRefusal(options, headers)
        if (wrong !== undefined) return yield* wrong
        return yield* route(served, created, request, path)
      })
      // A request's fiber lets nothing interrupt it by itself; a client that goes away must.
      const response = yield* Effect.interruptible(handled).pipe(
        Effect.catchCause(cause => {
          if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<never>)
          const error = Cause.squash(cause)
          return Effect.succeed(refused(error instanceof ApiError ? error : unexpected(cause)))
        })
      )
      const { onRequest } = options
      if (onRequest !== undefined) onRequest({ method, path, status: response.status, ms: performance.now() - begun })
      return Response.setHeaders(response, cors)
    })

    const server = createServer({ keepAliveTimeout })
    const http = yield* Effect.mapError(
      NodeHttpServer.make(() => server, { host: options.host, port: options.port, disablePreemptiveShutdown: true }),
      ({ cause }) => listenFault(cause, options)
    )
    // Runs before the server waits for its connections to close.
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    yield* http.serve(app)
    const shown = options.host.includes(":") ? `[${options.host}]` : options.host
    const idle = Effect.suspend(() => (inFlight === 0 ? Effect.void : Effect.fail("busy" as const)))
    const untilIdle = (ms: number) =>
      Effect.timeoutOption(Effect.eventually(Effect.andThen(Effect.sleep("20 millis"), idle)), `${ms} millis`)
    return {
      url: `http://${shown}:${(server.address() as { readonly port: number }).port}`,
      stop: Effect.gen(function* () {
        stopping = true
        served.service.close()
        const finished = yield* untilIdle(options.grace * 1000)
        if (Option.isSome(finished)) return
        served.service.endAll()
        yield* untilIdle(farewell)
      })
    } satisfies Endpoint as Endpoint
  })

/** Why nothing can be listened for there. */
const listenFault = (cause: unknown, { host, port }: EndpointOptions): ConfigError => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  switch (code) {
    case "EADDRINUSE":
      return new ConfigError({
        at: `--port ${port}`,
        message: `is in use on ${host}, by another program or another server of this one`,
        advice: "--port 0 takes one that is free"
      })
    case "EACCES":
      return new ConfigError({
        at: `--port ${port}`,
        message: "may not be listened on",
        advice: "ports below 1024 belong to the administrator"
      })
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new ConfigError({ at: `--host ${host}`, message: "is no address of this machine" })
    default:
      return new ConfigError({ at: `--host ${host} --port ${port}`, message: messageOf(cause) })
  }
}
