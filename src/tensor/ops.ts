/** All ops, for tracing. `primitives.ts` says what each means. */
export * from "./ops/leaves.ts"
export * from "./ops/elementwise.ts"
export * from "./ops/contraction.ts"
export * from "./ops/indexing.ts"
export * from "./ops/shaping.ts"
export * from "./ops/annotations.ts"
