/** What tasks that ask for Python share: code fences, programs that test a completion, and the clean-up of what a model wrote. */
import { Schema } from "effect"

/** What stands in the first code fence, until its end or the text's; the text where there is none. */
export const withoutFence = (text: string): string => {
  const open = /```(?:python|py)?[ \t]*\r?\n/.exec(text)
  if (open === null) return text
  const inside = text.slice(open.index + open[0].length)
  const close = inside.indexOf("```")
  return close < 0 ? inside : inside.slice(0, close)
}

/** What stands before the end of a code fence that the prompt has opened. */
export const untilFence = (text: string): string => {
  const close = text.indexOf("```")
  return close < 0 ? text : text.slice(0, close)
}

/** A program that is through when `check`, which `test` defines, finds nothing wrong with the entry point. */
export const checkProgram = (
  code: string,
  { entry_point, test }: { readonly entry_point: string; readonly test: string }
): string => `${code}\n${test}\ncheck(${entry_point})`

/** A name as Python takes it, and nothing that could be more. */
export const Identifier = Schema.String.check(
  Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*$/, { message: "must be a name of Python's: letters, digits and _" })
)

/** Lines that are looked at, by which the clean-up takes no longer than a blink. */
const mostLines = 100

/**
 * A program that runs what is left of a text: of the longest run of lines that is Python, the imports, and the definitions that the entry point or the tests reach; of functions those that return
 * something (evalplus' clean-up of responses, which Open-dLLM scores by; without the tests, problems whose tests call a function of the prompt could not be solved). It needs Python to read Python, and so it is done where the program runs.
 */
export const cleanedProgram = (text: string, entryPoint: string, test: string): string => `
def _cleaned(text, entry, test):
    import ast

    lines = text.replace("\\t", "    ").splitlines()[:${mostLines}]

    def parsed(first, last):
        try:
            return ast.parse("\\n".join(lines[first:last]))
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None

    tree = ast.Module(body=[], type_ignores=[])
    for length in range(len(lines), 0, -1):
        found = [run for first in range(len(lines) - length + 1) if (run := parsed(first, first + length)) is not None]
        # Of runs that are as long the one with the entry point, or else the first.
        if found:
            tree = next((run for run in found if any(getattr(node, "name", None) == entry for node in run.body)), found[0])
            break

    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    definitions = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(isinstance(inner, ast.Return) for inner in ast.walk(node)):
                definitions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        definitions[name.id] = node
    reached, waiting = set(), [entry] + [node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in definitions:
            continue
        reached.add(name)
        waiting.extend(inner.id for inner in ast.walk(definitions[name]) if isinstance(inner, ast.Name))
    kept = {id(definitions[name]) for name in reached}
    body = imports + [node for node in tree.body if id(node) in kept]
    return ast.unparse(ast.Module(body=body, type_ignores=[]))


exec(_cleaned(${pythonString(text)}, ${pythonString(entryPoint)}, ${pythonString(test)}))
`

/** A text as a literal of Python: JSON's escapes are Python's, but a pair of surrogates stands for itself. */
export const pythonString = (text: string): string => JSON.stringify(text.toWellFormed())
