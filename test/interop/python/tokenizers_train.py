"""Reads {"texts": [...], "size": n} and writes the model of a byte-level BPE trained on the texts."""

import json
import sys

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

request = json.load(sys.stdin)
tokenizer = Tokenizer(BPE())
tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
trainer = BpeTrainer(
    vocab_size=request["size"], initial_alphabet=ByteLevel.alphabet(), special_tokens=[], show_progress=False
)
tokenizer.train_from_iterator(request["texts"], trainer)
json.dump(json.loads(tokenizer.to_str())["model"], sys.stdout)
