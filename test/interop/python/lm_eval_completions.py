"""Scores continuations by lm-evaluation-harness's model `local-completions`: [[log-likelihood, whether greedy], ...]."""
import contextlib
import json
import sys

request = json.load(sys.stdin)
with contextlib.redirect_stdout(sys.stderr):
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    model = LocalCompletionsAPI(
        model=request["model"],
        base_url=f"{request['url']}/completions",
        tokenizer=request["tokenizer"],
        tokenizer_backend="huggingface",
        batch_size=request["batchSize"],
        num_concurrent=request["concurrent"],
        max_length=request["context"],
    )
    items = [
        Instance(request_type="loglikelihood", doc={}, arguments=tuple(pair), idx=i)
        for i, pair in enumerate(request["items"])
    ]
    scores = model.loglikelihood(items)
json.dump([[float(score), bool(greedy)] for score, greedy in scores], sys.stdout)
