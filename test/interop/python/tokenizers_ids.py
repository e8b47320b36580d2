"""Reads {"tokenizer": path, "texts": [...]} and writes {"ids": [...], "texts": [...]}: ids, and what they decode to."""

import json
import sys

from tokenizers import Tokenizer

request = json.load(sys.stdin)
tokenizer = Tokenizer.from_file(request["tokenizer"])
ids = [e.ids for e in tokenizer.encode_batch(request["texts"], add_special_tokens=False)]
texts = tokenizer.decode_batch(ids, skip_special_tokens=False)
json.dump({"ids": ids, "texts": texts}, sys.stdout)
