"""Qwen3.5 models of transformers, dense and with experts: made, read, and run. Reads a list of JSON requests, writes tensors to the files that they name.

create: random weights in `directory`: of the text model of `config`, or with `whole` of one for images and text around it; `experts` says which of both families.
run: of the model in `directory`, each of `rows` by itself: logits; with `bidirectional`, attention sees all of a row. With `gradients`, those of the mean cross-entropy of the
next tokens of all rows, and that. With `auxiliary`, the load-balancing loss of each row. With `generate`, so many tokens after each row, the most likely ones, each from the caches of those before.
"""

import json
import sys

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    Qwen3_5Config,
    Qwen3_5ForCausalLM,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
)
from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import load_balancing_loss_func

torch.use_deterministic_algorithms(True)

DENSE = (Qwen3_5TextConfig, Qwen3_5ForCausalLM, Qwen3_5Config, Qwen3_5ForConditionalGeneration)
EXPERTS = (Qwen3_5MoeTextConfig, Qwen3_5MoeForCausalLM, Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration)
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "num_position_embeddings": 16}


def create(request):
    torch.manual_seed(request["seed"])
    text = request["config"]
    text_config, text_model, whole_config, whole_model = EXPERTS if request["experts"] else DENSE
    if request["whole"]:
        vision = {**VISION, "out_hidden_size": text["hidden_size"]}
        tied = text["tie_word_embeddings"]
        model = whole_model(whole_config(text_config=text, vision_config=vision, tie_word_embeddings=tied))
    else:
        model = text_model(text_config(**text))
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and the like start at 0 or 1, where mistakes do not show.
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for name, parameter in model.named_parameters():
            # So that experts are as likely as chance has it, and none by a hair: rounding must not decide.
            if name.endswith("mlp.gate.weight"):
                parameter.normal_(std=0.5)
    model.to(getattr(torch, request["dtype"])).save_pretrained(
        request["directory"], max_shard_size=request["maxShardSize"]
    )


def logits_of(model, tokens, bidirectional):
    if not bidirectional:
        return model(tokens).logits
    length = tokens.shape[1]
    masks = {"full_attention": torch.zeros(1, 1, length, length), "linear_attention": None}
    return model(tokens, attention_mask=masks).logits


def run(request):
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    model, report = AutoModelForCausalLM.from_pretrained(request["directory"], output_loading_info=True, **options)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    model.eval()
    rows = [torch.tensor([row]) for row in request["rows"]]
    found = [logits_of(model, tokens, request.get("bidirectional", False)) for tokens in rows]
    tensors = {f"logits/{i}": logits.detach() for i, logits in enumerate(found)}
    if request.get("gradients", False):
        loss = torch.nn.functional.cross_entropy(
            torch.cat([logits[0, :-1] for logits in found]), torch.cat([tokens[0, 1:] for tokens in rows])
        )
        loss.backward()
        tensors["loss"] = loss.detach().reshape(1)
        for name, parameter in model.named_parameters():
            tensors[f"gradient/{name}"] = parameter.grad.clone()
    for i, tokens in enumerate(rows if request.get("auxiliary", False) else []):
        tensors[f"auxiliary/{i}"] = model(tokens, output_router_logits=True).aux_loss.detach().reshape(1)
    for i, tokens in enumerate(rows if "generate" in request else []):
        made = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=request["generate"],
            eos_token_id=None,
            pad_token_id=0,
        )
        tensors[f"generated/{i}"] = made[0, tokens.shape[1] :]
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, request["output"])


def balance(request):
    """The load-balancing loss of router logits, given layer by layer, with `counted` tokens, and its gradients."""
    logits = tuple(torch.tensor(layer, requires_grad=True) for layer in request["logits"])
    loss = load_balancing_loss_func(logits, logits[0].shape[1], request["topK"], torch.tensor([request["counted"]]))
    loss.backward()
    gradients = {f"gradient/{i}": layer.grad for i, layer in enumerate(logits)}
    save_file({"loss": loss.detach().reshape(1), **gradients}, request["output"])


for each in json.load(sys.stdin):
    {"create": create, "run": run, "balance": balance}[each["action"]](each)
json.dump({}, sys.stdout)
