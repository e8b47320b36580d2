"""python rust_tokenizers.py CORPUS.jsonl TOKENIZER.json: one pass of the Rust tokenizers; prints {"tokens", "seconds"}."""

import json
import sys
import time

from tokenizers import Tokenizer

corpus, path = sys.argv[1:]
with open(corpus, encoding="utf-8") as lines:
    texts = [json.loads(line)["text"] for line in lines]
tokenizer = Tokenizer.from_file(path)
start = time.perf_counter()
tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - start}))
