/** A model of one's own, made a diffusion model as a configuration file says, and measured: a grid of one row. */
import { basename, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { Schema } from "effect"
import { decodeAssembled } from "../src/config/configFile.ts"
import { Measurements, type ProfileConfig } from "../src/config/profile.ts"
import { RowConfig } from "../src/methods/configuration.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { compared, explainTrain, modelSource } from "./comparison.ts"
import { config, pathOf, readRow } from "./config.ts"
import { given } from "./given.ts"

const title = "convert"

/** Measurements, and what is asked beside. */
type Profile = Measurements & { readonly data?: Pick<ProfileConfig["data"], "tasks"> }

/** The fields of the file that say what is read; the stage `train` decodes its own. */
const Sources = Schema.Struct({ ...RowConfig.fields, train: Schema.Record(Schema.String, Schema.Unknown) })

export default Pipeline.make(
  title,
  {
    description: "Makes a diffusion model of a model of your own, as a configuration file says, and measures it",
    variants: ["config", "quick", "seeds", "sweep"],
    explain: explainTrain,
    profiles: {
      usual: {
        description: "measurements that suit most models; the file says all else",
        needs: "what the file names",
        make: (): Profile => config(Measurements, "convert")
      },
      code: {
        description: "the same, and HumanEval at several tokens a step",
        needs: "what the file names, HumanEval.jsonl.gz, bubblewrap, Python and --allow-code-execution",
        make: () => Origin.overlay(config(Measurements, "convert"), readRow("code")) as Profile
      }
    }
  },
  context => {
    const { config: file } = context.variant
    if (file === undefined)
      throw new ConfigError({
        at: "--config",
        message: `${title} needs a configuration file`,
        advice: "docs/convert.md shows one; docs/configuration.md has every field"
      })
    const url = pathToFileURL(resolve(file))
    const { data, model } = decodeAssembled(Sources, readRow(url), pathOf(url))
    if (data.evalPath === undefined)
      throw new ConfigError({
        at: `${file}: data.eval_path`,
        message: "there is nothing to evaluate the model on",
        advice: "name documents that are not among those of data.train_path"
      })
    const heldOut = {
      source: data.evalPath,
      dataType: data.dataType,
      ...given({ documents: data.evalSize, textKey: data.textKeys })
    }
    const name = basename(file)
      .replace(/\.[^.]*$/, "")
      .replaceAll(/[^\w.-]/g, "_")
    // The tokenizer that ships is one artifact, and the teacher of that vocabulary another.
    const tokenizer = {
      source: model.modelPath.startsWith("embedded:") ? "embedded:tokenizer" : modelSource(model.modelPath)
    }
    return compared(title, { description: "", rows: [{ name, label: name, config: url }] })({
      ...context,
      profile: { ...context.profile, data: { heldOut, tokenizer, ...context.profile.data } }
    })
  }
)
