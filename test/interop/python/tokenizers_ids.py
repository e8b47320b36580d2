"""What the reference implementation makes of texts and of ids, for several tokenizers.

Reads [{"json": the text of a tokenizer.json, "texts": [...], "ids": [[...], ...]}, ...]. Writes for each {"ids": those of the texts, "texts": what these ids
decode to, "decoded": what the given ids decode to}.
"""

import functools
import json
import os
import sys

# The texts are many and short: threads would only wait for each other, and for the tests beside this one.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402: reads the variable

tokenizer_of = functools.cache(Tokenizer.from_str)


def answer(question):
    tokenizer = tokenizer_of(question["json"])
    ids = [each.ids for each in tokenizer.encode_batch(question["texts"], add_special_tokens=False)]
    return {
        "ids": ids,
        "texts": tokenizer.decode_batch(ids, skip_special_tokens=False),
        "decoded": tokenizer.decode_batch(question["ids"], skip_special_tokens=False),
    }


# `json.dump` is many times slower than `dumps`, and there are millions of ids.
sys.stdout.write(json.dumps([answer(question) for question in json.load(sys.stdin)]))
