"""What transformers makes of models whose files disagree: for each directory the losses of some tokens, the ends of text of generation, and ids of tokens; or why it fails."""

import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

request = json.load(sys.stdin)
spoken = torch.tensor([request["spoken"]])
options = {"attn_implementation": "eager", "dtype": torch.float32}


def read(directory, tokens):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    if os.path.exists(os.path.join(directory, "adapter_config.json")):
        from peft import PeftModel

        with open(os.path.join(directory, "adapter_config.json")) as file:
            adapter = file.read()
        os.remove(os.path.join(directory, "adapter_config.json"))
        base = AutoModelForCausalLM.from_pretrained(directory, **options)
        with open(os.path.join(directory, "adapter_config.json"), "w") as file:
            file.write(adapter)
        model = PeftModel.from_pretrained(base, directory)
    else:
        model = AutoModelForCausalLM.from_pretrained(directory, **options)
    with torch.no_grad():
        logits = model.eval()(spoken).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits.float(), spoken[0, 1:], reduction="none")
    ends = model.generation_config.eos_token_id
    return {
        "losses": losses.tolist(),
        "ends": [] if ends is None else ends if isinstance(ends, list) else [ends],
        "ids": {token: tokenizer.convert_tokens_to_ids(token) for token in tokens},
    }


replies = []
for row in request["rows"]:
    try:
        replies.append(read(row["directory"], row["tokens"]))
    except Exception as error:  # noqa: BLE001: how it fails is told
        replies.append({"error": f"{type(error).__name__}: {error}"[:300]})
json.dump(replies, sys.stdout)
