/**
 * The rooms of the house, each with those that its modules may import from. The linter holds them to it (oxlint.config.ts), docs/architecture.md says what each is for.
 * The list is in order: a room imports from rooms above it alone, so that there is no circle.
 */
export const rooms: { readonly [folder: string]: ReadonlyArray<string> } = {
  "src/pipeline": [],
  "src/tensor": [],

  "src/store": ["pipeline"],
  "src/ledger": ["pipeline"],
  "src/executors": ["pipeline"],
  "src/runner": ["pipeline", "store", "ledger", "executors"],

  "src/formats": ["pipeline", "tensor"],
  "src/config": ["pipeline", "formats"],
  "src/hub": ["pipeline", "formats"],
  "src/tokens": ["pipeline", "tensor", "formats"],
  "src/artifacts": ["pipeline", "formats", "tokens"],
  "src/engines": ["pipeline", "tensor"],
  "src/models": ["pipeline", "tensor", "formats", "tokens", "artifacts", "engines"],
  "src/sandbox": ["pipeline"],
  "src/preflight": ["pipeline", "tensor", "hub", "models"],
  "src/decoding": ["tensor", "config"],
  "src/sessions": ["pipeline", "tensor", "formats", "tokens", "engines", "models", "decoding"],
  "src/training": ["pipeline", "tensor", "config", "formats", "tokens", "engines", "models", "sessions"],
  "src/evaluation": ["pipeline", "tensor", "config", "tokens", "engines", "models", "decoding", "sessions"],
  "src/methods": [
    "pipeline",
    "tensor",
    "config",
    "formats",
    "tokens",
    "artifacts",
    "engines",
    "models",
    "decoding",
    "sessions",
    "training",
    "evaluation"
  ],
  "src/serving": ["pipeline", "tensor", "formats", "tokens", "engines", "models", "decoding", "sessions", "methods"],
  "src/corpora": ["pipeline", "evaluation"],
  "src/report": ["pipeline", "tensor", "training", "evaluation"],
  stages: [
    "pipeline",
    "tensor",
    "config",
    "formats",
    "hub",
    "tokens",
    "artifacts",
    "engines",
    "models",
    "decoding",
    "sessions",
    "training",
    "evaluation",
    "methods",
    "corpora",
    "report",
    "sandbox"
  ],
  pipelines: ["pipeline", "config", "artifacts", "models", "preflight", "evaluation", "methods", "corpora", "stages"]
}
