"""Qwen models of transformers: made, read, and stepped. Reads a JSON request, writes tensors to the file that it names.

create: random weights in `directory`, and the logits of `tokens`.
read: the logits of `tokens` under the model in `directory`; loss, gradients and one AdamW step of the causal loss.
"""

import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

torch.use_deterministic_algorithms(True)
request = json.load(sys.stdin)
tokens = torch.tensor(request["tokens"])
options = {"attn_implementation": "eager", "dtype": torch.float32}


def create():
    torch.manual_seed(request["seed"])
    config_class, model_class = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[
        request["config"]["model_type"]
    ]
    model = model_class(config_class(**request["config"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms and biases start at 1 and 0, where mistakes do not show.
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.to(getattr(torch, request["dtype"])).save_pretrained(
        request["directory"], max_shard_size=request["maxShardSize"]
    )


def read():
    model = AutoModelForCausalLM.from_pretrained(request["directory"], **options)
    model.eval()
    logits = model(tokens).logits
    tensors = {"logits": logits.detach()}
    if "optimiser" in request:
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1)
        )
        losses.backward()
        tensors["loss"] = losses.detach().reshape(1)
        for name, parameter in model.named_parameters():
            tensors[f"gradient/{name}"] = parameter.grad.clone()
        settings = request["optimiser"]
        optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=settings["lr"],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["epsilon"],
            weight_decay=settings["weightDecay"],
        )
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["maxGradNorm"])
        tensors["norm"] = norm.detach().reshape(1)
        optimiser.step()
        for name, parameter in model.named_parameters():
            tensors[f"updated/{name}"] = parameter.detach().clone()
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}


if request["action"] == "create":
    create()
save_file(read(), request["output"])
json.dump({}, sys.stdout)
