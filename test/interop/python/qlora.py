"""NF4 by bitsandbytes, models in NF4 by transformers, adapters by peft. Reads a JSON list of jobs; tensors come and go in safetensors files, each job's in the file `output`.

quantise: each tensor of `input` in NF4, under the keys of bitsandbytes, and its dequantised values under `dequantised/NAME`.
dequantise: the values of each weight in NF4 of `input`.
logits: those of `tokens` under the model in `directory`, quantised while it is read where `quantise` says how. With `adapter`, under the adapter that lies there; with `adapt`, under a
  fresh one of these settings, its numbers drawn. `merged`: those of the model with its adapter merged, too. `saveModel`, `saveAdapter`: where either is written.
"""

import json
import sys

import torch
from safetensors.torch import load_file, save_file

torch.use_deterministic_algorithms(True)
# A mean of many numbers depends on the number of threads.
torch.set_num_threads(1)
suffix = ".quant_state.bitsandbytes__nf4"


def use_plain_dequantisation():
    """bitsandbytes 0.50.2 has kernels for AVX-512 that give other numbers where a block does not end with a row. What it does elsewhere, in PyTorch's own operators, is done everywhere."""
    import bitsandbytes
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    from bitsandbytes.backends.utils import _get_4bit_code

    def dequantise(packed, absmax, blocksize, quant_type, shape, dtype):
        code = _get_4bit_code(quant_type, packed.device)
        return _dequantize_4bit_compute(packed.view(torch.uint8).reshape(-1), absmax.float(), code, blocksize, shape, dtype)

    library = torch.library.Library("bitsandbytes", "IMPL")
    library.impl("dequantize_4bit", dequantise, "CPU", allow_override=True)
    return library


# Lives as long as its override is to hold.
library = use_plain_dequantisation()


def quantise(job):
    import bitsandbytes.functional as bnb

    tensors = {}
    for name, weight in load_file(job["input"]).items():
        packed, state = bnb.quantize_4bit(
            weight,
            blocksize=job["blockSize"],
            quant_type="nf4",
            compress_statistics=job["doubleQuant"],
        )
        tensors[name] = packed
        tensors |= {f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
        tensors[f"dequantised/{name}"] = bnb.dequantize_4bit(packed, state)
    return tensors


def dequantise(job):
    import bitsandbytes.functional as bnb

    tensors = load_file(job["input"])
    values = {}
    for key in tensors:
        if not key.endswith(suffix):
            continue
        name = key.removesuffix(suffix)
        parts = {each: value for each, value in tensors.items() if each.startswith(f"{name}.")}
        state = bnb.QuantState.from_dict(parts, torch.device("cpu"))
        values[name] = bnb.dequantize_4bit(tensors[name], state)
    return values


def logits(job):
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options = {"attn_implementation": "eager", "dtype": torch.float32}
    if "quantise" in job:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_use_double_quant=job["quantise"]["doubleQuant"],
        )
    model = AutoModelForCausalLM.from_pretrained(job["directory"], **options).eval()
    # On processors that multiply in bfloat16 it packs weights anew for kernels of that precision, and fails for some shapes.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    # Of a model whose files are in NF4, transformers leaves all else in the files' dtype.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    tokens = torch.tensor(job["tokens"])
    if "saveModel" in job:
        model.save_pretrained(job["saveModel"])
    if "adapter" in job:
        model = PeftModel.from_pretrained(model, job["adapter"]).eval()
    elif "adapt" in job:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **job["adapt"])).eval()
        torch.manual_seed(5)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name or "trainable_tokens" in name:
                    # Fresh adapters change nothing.
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(job["saveAdapter"])
    with torch.no_grad():
        found = {"logits": model(tokens).logits}
        if job.get("merged"):
            found["merged"] = model.merge_and_unload()(tokens).logits
    return found


for job in json.load(sys.stdin):
    done = {"quantise": quantise, "dequantise": dequantise, "logits": logits}[job["action"]](job)
    save_file({name: tensor.contiguous() for name, tensor in done.items()}, job["output"])
json.dump({}, sys.stdout)
