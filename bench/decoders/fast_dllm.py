"""Fast-dLLM's decoders of LLaDA beside ours: its code, run from a checkout of it. One line in: the model and the decoders; then, for each line, a turn of the decoder it names.

Its model is LLaDA's, with grouped queries, and has no norms of queries and keys within heads. Here it gets them at its own places for such norms; the rest of a model of Qwen3 is the same. It has a
softmax of attention compiled by torch.compile, which is left as PyTorch's own kernel: it is one either way, and compiled again for new lengths. TORCHDYNAMO_DISABLE=0 compiles it.
"""

import json
import os
import sys
import time
from types import SimpleNamespace

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from safetensors.torch import load_file

request = json.loads(sys.stdin.readline())
sys.path.insert(0, os.path.join(request["checkout"], "llada"))

import generate as fast_dllm
from model.configuration_llada import ActivationType, BlockType, LayerNormType, ModelConfig
from model.modeling_llada import LLaDAModel

torch.set_num_threads(request["threads"])
config = request["config"]
prompt = torch.tensor([request["prompt"]])
mask = request["mask"]
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
if heads * config["head_dim"] != config["hidden_size"] or not config["tie_word_embeddings"]:
    raise SystemExit("Fast-dLLM's LLaDA has heads that add up to the hidden size; and only tied heads are read here")


class HeadNorm(torch.nn.Module):
    """Root mean square norm within each head. x: [B, T, heads * head_dim]."""

    def __init__(self, weight, eps):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.eps = eps

    def forward(self, x):
        by_head = x.unflatten(-1, (-1, self.weight.shape[0]))
        return torch.nn.functional.rms_norm(by_head, self.weight.shape, self.weight, self.eps).flatten(-2)


# Ours under the names that its model has for them.
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "self_attn.q_norm": "q_norm",
    "self_attn.k_norm": "k_norm",
    "post_attention_layernorm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def load():
    tensors = {}
    for file in request["files"]:
        tensors.update(load_file(file))
    eps = config["rms_norm_eps"]
    model = LLaDAModel(
        ModelConfig(
            d_model=config["hidden_size"],
            n_heads=heads,
            n_kv_heads=kv_heads,
            n_layers=config["num_hidden_layers"],
            mlp_hidden_size=config["intermediate_size"],
            activation_type=ActivationType.silu,
            block_type=BlockType.llama,
            rope=True,
            rope_theta=config["rope_theta"],
            layer_norm_type=LayerNormType.rms,
            rms_norm_eps=eps,
            vocab_size=config["vocab_size"],
            embedding_size=config["vocab_size"],
            weight_tying=True,
            init_device="cpu",
        ),
        init_params=False,
    ).eval()
    state = {
        "transformer.wte.weight": tensors.pop("model.embed_tokens.weight"),
        "transformer.ln_f.weight": tensors.pop("model.norm.weight"),
    }
    for name, tensor in tensors.items():
        _, _, layer, rest = name.split(".", 3)
        own = NAMES[rest.removesuffix(".weight")]
        if own in ("q_norm", "k_norm"):
            setattr(model.transformer.blocks[int(layer)], own, HeadNorm(tensor, eps))
        state[f"transformer.blocks.{layer}.{own}.weight"] = tensor
    model.load_state_dict(state, strict=True)
    return model


class MaskPredictor:
    """The model as its decoders call it. The mask itself is never likely, as it is for a model that was trained."""

    device = torch.device("cpu")

    def __init__(self, model):
        self.model = model

    def __call__(self, ids, **options):
        found = self.model(ids, **options)
        found.logits[..., mask] = -torch.inf
        return SimpleNamespace(logits=found.logits, past_key_values=found.attn_key_values)


generators = {
    "none": fast_dllm.generate,
    "prefix": fast_dllm.generate_with_prefix_cache,
    "dual": fast_dllm.generate_with_dual_cache,
}
predictor = MaskPredictor(load())
parameters = sum(p.numel() for p in predictor.model.parameters())
print(json.dumps({"torch": torch.__version__, "parameters": parameters}), flush=True)
for line in sys.stdin:
    decoder = json.loads(line)
    start = time.perf_counter()
    made, passes = generators[decoder["cache"]](
        predictor,
        prompt,
        steps=decoder["steps"],
        gen_length=decoder["new_tokens"],
        block_length=decoder["block_length"],
        temperature=0.0,
        mask_id=mask,
        threshold=decoder["threshold"],
    )
    milliseconds = (time.perf_counter() - start) * 1000
    print(json.dumps({"ms": milliseconds, "passes": passes, "tokens": made[0].tolist()}), flush=True)
