/** What stays outside of the bundle: native code, and the bundler, which is only needed for a user's own stages. */
export const external = ["better-sqlite3", "onnxruntime-node", "rolldown", /^node:/]
