"""Reads {"tokenizer": path, "ids": [[...], ...]} and writes {"texts": [...]}: what the ids decode to."""

import json
import sys

from tokenizers import Tokenizer

request = json.load(sys.stdin)
tokenizer = Tokenizer.from_file(request["tokenizer"])
json.dump({"texts": tokenizer.decode_batch(request["ids"], skip_special_tokens=False)}, sys.stdout)
