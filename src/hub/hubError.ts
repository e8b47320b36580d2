/** What is wrong with a hub's answers or our use of it, beyond single requests; and advice for requests that it refuses. */
import { Schema } from "effect"
import { redact } from "../pipeline/Secrets.ts"
import { HttpError } from "./http.ts"

/** Trying again changes nothing. */
export class HubError extends Schema.TaggedError<HubError>()("HubError", {
  class: Schema.tag("permanent"),
  message: Schema.String
}) {}

/** Names of mirrors, links and paths come from outside, and may hold secrets. */
export const hubError = (message: string): HubError => new HubError({ class: "permanent", message: redact(message) })

/** What a request was about, as far as advice depends on it. */
export interface Subject {
  /** The repository's page, for a browser. */
  readonly page: string
  readonly revision: string
  readonly path?: string | undefined
  readonly hasToken: boolean
}

/** Adds to a refused request what its user can do about it. Other errors stay as they are. */
export const withAdvice =
  (subject: Subject) =>
  (error: HttpError): HttpError => {
    const advice = adviceFor(error, subject)
    return advice === undefined ? error : new HttpError({ ...error, message: redact(`${error.message}\n  ${advice}`) })
  }

const adviceFor = (error: HttpError, { hasToken, page, path, revision }: Subject): string | undefined => {
  switch (error.code) {
    case "GatedRepo":
      return hasToken
        ? `the repository is gated: accept its licence at ${page} with the account that your token belongs to`
        : `the repository is gated: accept its licence at ${page} and set HF_TOKEN (make one at https://huggingface.co/settings/tokens)`
    case "RepoNotFound":
      return hasToken
        ? `there is no ${page}, or your token may not read it: check the name, and whether it is a model or a dataset`
        : `there is no ${page}, or it is private: check the name, and set HF_TOKEN if it is yours`
    case "RevisionNotFound":
      return `${page} has no revision "${revision}": see ${page}/tree/main`
    case "EntryNotFound":
      return `${page} has no "${path ?? ""}" at ${revision}: see ${page}/tree/${encodeURIComponent(revision)}`
    case "DisabledRepo":
      return `${page} has been disabled by the hub`
  }
  switch (error.status) {
    case 401:
      return hasToken
        ? "the hub does not accept your token: is it expired? Set HF_TOKEN to a valid one"
        : `set HF_TOKEN (make one at https://huggingface.co/settings/tokens) if ${page} is private or gated`
    case 403:
      return `your token may not read ${page}: check its permissions, and accept the repository's licence if there is one`
    case 404:
      return `check the name of the repository (${page}) and the revision "${revision}"`
    case 429:
      return hasToken ? undefined : "requests without a token are limited more strictly: set HF_TOKEN"
  }
  return undefined
}
