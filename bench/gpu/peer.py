"""What bench/gpu measures, in Hugging Face transformers: one JSON request on standard input, one JSON line of results.

Forward pass, diffusion decoding at temperature 0 by entropy as the field writes it (the whole canvas through the model in every step), training step. Where there is an adapter, the weights are in
NF4 by bitsandbytes, and PEFT's LoRA is trained by masked diffusion with gradient checkpointing; all else stays in 16 bits. A work that fails leaves its error.
"""

import json
import sys
import time
from importlib import metadata

import torch
import transformers
from transformers import AutoModelForCausalLM

request = json.load(sys.stdin)
device = torch.device(request["device"])
cuda = device.type == "cuda"
half = {"bf16": torch.bfloat16, "f16": torch.float16}.get(request["precision"])
if request["threads"]:
    torch.set_num_threads(request["threads"])
torch.backends.cuda.matmul.allow_tf32 = request["precision"] == "tf32"


def load(dtype):
    quantised = request.get("adapter") is not None
    model = AutoModelForCausalLM.from_pretrained(
        request["directory"],
        dtype=dtype,
        attn_implementation="sdpa",
        **({"device_map": {"": request["device"]}} if quantised else {}),
    )
    if not quantised:
        model.to(device)
    if not cuda:
        # On processors that multiply in bfloat16 bitsandbytes packs weights anew for kernels of that precision, and fails for small shapes.
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    if quantised and half is None:
        # transformers leaves what is not in NF4 in the files' dtype.
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
    if request["compiled"]:
        # Its fastest mode: CUDA graphs.
        model.forward = torch.compile(model.forward, mode="reduce-overhead" if cuda else None, dynamic=False)
    # What loading held does not count.
    peak_bytes()
    return model


def milliseconds(work, warm_up):
    times = []
    for _ in range(warm_up):
        result = work()
    begun = time.perf_counter()
    while len(times) < request["rounds"] and (
        len(times) < request["leastRounds"] or time.perf_counter() - begun < request["seconds"]
    ):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    return times, result


def peak_bytes():
    if not cuda:
        return None
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def sees_all(length):
    """A mask under which every token sees every token, in layers that attend."""
    mask = torch.zeros(1, 1, length, length, dtype=half or torch.float32, device=device)
    hybrid = "linear_attention" in (getattr(model.config, "layer_types", None) or [])
    return {"full_attention": mask, "linear_attention": None} if hybrid else mask


def forward():
    tokens = torch.tensor([request["tokens"]], device=device)
    mask = sees_all(tokens.shape[1])
    with torch.no_grad():
        return milliseconds(lambda: model(tokens, attention_mask=mask, use_cache=False).logits, request["warmUp"])[0]


@torch.no_grad()
def generate(steps, prompt, new_tokens, mask_token):
    canvas = torch.full((1, len(prompt) + new_tokens), mask_token, device=device)
    canvas[0, : len(prompt)] = torch.tensor(prompt, device=device)
    attention = sees_all(canvas.shape[1])
    for j in range(min(steps, new_tokens)):
        logits = model(canvas, attention_mask=attention, use_cache=False).logits[0].float()
        scores = logits[len(prompt) - 1 : -1].clone()
        scores[:, mask_token] = -torch.inf
        probabilities = torch.softmax(scores, -1)
        confidence = (probabilities * torch.log(probabilities + 1e-10)).sum(-1)
        fresh = canvas[0, len(prompt) :]
        is_open = fresh == mask_token
        confidence = torch.where(is_open, confidence, -torch.inf)
        count = new_tokens // steps + (1 if j < new_tokens % steps else 0)
        _, chosen = torch.topk(confidence, count)
        fresh[chosen] = scores.argmax(-1)[chosen]
    return canvas[0, len(prompt) :].tolist()


def adapted():
    """The model under a fresh adapter, which alone is trained."""
    from peft import LoraConfig, get_peft_model

    adapter = request["adapter"]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter["r"],
        lora_alpha=adapter["alpha"],
        lora_dropout=adapter["dropout"],
        use_rslora=adapter["rankStabilised"],
        target_modules=adapter["targetModules"],
    )
    return get_peft_model(model, config)


def next_token_loss(tokens):
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        logits = model(tokens, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1)
    )


def masked_loss(tokens):
    """Of half of the tokens, each predicted from the state before it."""
    masked = torch.rand(tokens.shape, device=device) < 0.5
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        logits = model(
            torch.where(masked, request["decode"]["mask"], tokens),
            attention_mask=sees_all(tokens.shape[1]),
            use_cache=False,
        ).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1][masked[:, 1:]].float(), tokens[:, 1:][masked[:, 1:]])


def training(rows, length):
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, request["decode"]["mask"], (rows, length), device=device)
    loss_of = masked_loss if request.get("adapter") else next_token_loss

    def step():
        loss = loss_of(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.item()

    return milliseconds(step, request["warmUp"])[0]


results, peaks, tokens, errors = {}, {}, {}, {}


def measure(name, work):
    try:
        results[name] = work()
        peaks[name] = peak_bytes()
    except Exception as error:
        errors[name] = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if name in errors and cuda:
        torch.cuda.empty_cache()
        peak_bytes()


def begin_trainings():
    """The model that is trained, in place of the one before."""
    global model
    if request.get("adapter"):
        model = adapted()
        return
    model = None
    if cuda:
        torch.cuda.empty_cache()
    # Parameters and moments in f32, products in 16 bits by autocast: as ours.
    model = load(torch.float32)


def decoding(steps):
    name, decode = f"decode/{steps}", request["decode"]
    times, tokens[name] = milliseconds(
        lambda: generate(steps, decode["prompt"], decode["newTokens"], decode["mask"]), 1
    )
    return times


model = load(half or torch.float32).eval()
measure("forward", forward)
for steps in request["decode"]["steps"]:
    measure(f"decode/{steps}", lambda: decoding(steps))
trainings = {name: step for name, step in request["trainings"].items() if "alignedLayers" not in step}
begun = False
for name, step in trainings.items():

    def work():
        global begun
        if not begun:
            begin_trainings()
            begun = True
        return training(step["rows"], step["length"])

    measure(name, work)
versions = {"torch": torch.__version__, "transformers": transformers.__version__}
for name in ("bitsandbytes", "peft") if request.get("adapter") else ():
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({**versions, "milliseconds": results, "peakBytes": peaks, "tokens": tokens, "errors": errors}))
