/** Plans the grid of each tree of sources that it is given, and prints as JSON what keys are made from: `node planProbe.ts TREE…`. */
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import type { Plan } from "../../src/pipeline/Plan.ts"
import type * as PipelineModule from "../../src/pipeline/Pipeline.ts"
import { chosenMethod, type FingerprintTarget, locate, targetOf } from "../../src/runner/Fingerprint.ts"

/** An action of the grid: its parameters as they enter the key, and where its code is. */
export interface Probed {
  readonly label: string
  readonly parameters: string
  readonly target: FingerprintTarget
}

const moduleOf = <M>(tree: string, path: string) => import(pathToFileURL(join(tree, path)).href) as Promise<M>

const planOf = async (tree: string): Promise<Plan> => {
  const { evaluate } = await moduleOf<typeof PipelineModule>(tree, "src/pipeline/Pipeline.ts")
  const grid = await moduleOf<{ readonly default: PipelineModule.Pipeline }>(tree, "pipelines/compare-50x.ts")
  return evaluate(grid.default, {})
}

const probe = async (tree: string): Promise<ReadonlyArray<Probed>> => {
  const found: Array<Probed> = []
  for (const { label, parameters, parametersText, stage } of (await planOf(tree)).nodes) {
    const location = await Effect.runPromise(locate(stage))
    found.push({
      label,
      parameters: parametersText,
      target: targetOf(stage, location, chosenMethod(stage, parameters))
    })
  }
  return found
}

const probed: Array<ReadonlyArray<Probed>> = []
for (const tree of process.argv.slice(2)) probed.push(await probe(tree))
process.stdout.write(JSON.stringify(probed))
