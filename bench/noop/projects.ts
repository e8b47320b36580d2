/** Writes the same project for each tool: N stages that copy one small text, as a fan from `in.txt` or as a chain. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

export type Shape = "fan" | "chain"

export interface Project {
  readonly directory: string
  readonly shape: Shape
  readonly count: number
}

type Writer = (project: Project) => void

const input = ({ shape }: Project, i: number) => (shape === "fan" || i === 0 ? "in.txt" : `o/${i - 1}.txt`)
const indices = ({ count }: Project) => Array.from({ length: count }, (_, i) => i)
const lasts = (project: Project) => (project.shape === "chain" ? [project.count - 1] : indices(project))

const make: Writer = project => {
  const all = `all: ${lasts(project)
    .map(i => `o/${i}.txt`)
    .join(" ")}\n`
  const rules = indices(project).map(i => `o/${i}.txt: ${input(project, i)}\n\tcat ${input(project, i)} > $@\n`)
  writeFileSync(join(project.directory, "Makefile"), all + rules.join(""))
}

const ninja: Writer = project => {
  const rules = indices(project).map(i => `build o/${i}.txt: copy ${input(project, i)}\n`)
  writeFileSync(join(project.directory, "build.ninja"), `rule copy\n command = cat $in > $out\n${rules.join("")}`)
}

const snakemake: Writer = ({ count, directory, shape }) => {
  const rule =
    shape === "fan"
      ? `rule all:\n    input: expand('o/{i}.txt', i=range(${count}))\nrule copy:\n    input: 'in.txt'\n`
      : `rule all:\n    input: 'o/${count - 1}.txt'\nrule copy:\n    input: lambda w: 'in.txt' if int(w.i) == 0 else f'o/{int(w.i) - 1}.txt'\n`
  const constraint = shape === "chain" ? "    wildcard_constraints: i='[0-9]+'\n" : ""
  writeFileSync(
    join(directory, "Snakefile"),
    `${rule}    output: 'o/{i}.txt'\n${constraint}    shell: 'cat {input} > {output}'\n`
  )
}

const dvc: Writer = project => {
  const stages = indices(project).map(
    i =>
      `  s${i}:\n    cmd: cat ${input(project, i)} > o/${i}.txt\n    deps: [${input(project, i)}]\n    outs: [o/${i}.txt]\n`
  )
  writeFileSync(join(project.directory, "dvc.yaml"), `stages:\n${stages.join("")}`)
}

const turbo: Writer = project => {
  const { directory, shape } = project
  const scripts = Object.fromEntries(indices(project).map(i => [`s${i}`, `cat ${input(project, i)} > o/${i}.txt`]))
  const tasks = Object.fromEntries(
    indices(project).map(i => [
      `s${i}`,
      {
        inputs: [input(project, i)],
        outputs: [`o/${i}.txt`],
        dependsOn: shape === "fan" || i === 0 ? [] : [`s${i - 1}`]
      }
    ])
  )
  const manifest = {
    name: "app",
    version: "0.0.0",
    private: true,
    packageManager: "npm@11.0.0",
    scripts: { ...scripts, all: "true" }
  }
  writeFileSync(join(directory, "package.json"), JSON.stringify(manifest))
  writeFileSync(
    join(directory, "package-lock.json"),
    JSON.stringify({
      name: "app",
      version: "0.0.0",
      lockfileVersion: 3,
      requires: true,
      packages: { "": { name: "app", version: "0.0.0" } }
    })
  )
  writeFileSync(
    join(directory, "turbo.json"),
    JSON.stringify({ tasks: { ...tasks, all: { inputs: ["in.txt"], dependsOn: lasts(project).map(i => `s${i}`) } } })
  )
  writeFileSync(join(directory, ".gitignore"), "node_modules\no\n.turbo\n")
}

const writers = { make, ninja, snakemake, dvc, turbo } as const
export type OtherTool = keyof typeof writers

export const writeProject = (tool: OtherTool | "pipeline", project: Project): void => {
  mkdirSync(join(project.directory, "o"), { recursive: true })
  writeFileSync(join(project.directory, "in.txt"), "hello\n")
  if (tool !== "pipeline") writers[tool](project)
}
