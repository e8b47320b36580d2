"""Asks an endpoint by OpenAI's client: whole answers, streams, chats, and an error."""
import json
import sys

import openai

request = json.load(sys.stdin)
client = openai.OpenAI(base_url=request["url"], api_key="none", max_retries=0)
asked = {"model": request["model"], "prompt": request["prompt"], "max_tokens": 12, "temperature": 0}
messages = [{"role": "user", "content": "Hello"}]
chat = {"model": request["model"], "messages": messages, "max_tokens": 6, "temperature": 0}

whole = client.completions.create(**asked, logprobs=2)
streamed = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
masks = client.completions.create(**asked, extra_body={"mode": "diffusion", "block_length": 4})
reply = client.chat.completions.create(**chat, logprobs=True, top_logprobs=1)
replied = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**chat, stream=True)]
try:
    client.completions.create(**{**asked, "model": "other"})
    error = None
except openai.NotFoundError as raised:
    error = {"code": raised.code, "param": raised.param, "status": raised.status_code}

json.dump(
    {
        "models": [model.id for model in client.models.list()],
        "whole": whole.choices[0].text,
        "finish": whole.choices[0].finish_reason,
        "usage": whole.usage.total_tokens,
        "logprobs": whole.choices[0].logprobs.token_logprobs,
        "streamed": "".join(streamed),
        "masks": masks.choices[0].text,
        "reply": reply.choices[0].message.content,
        "replyLogprobs": [token.logprob for token in reply.choices[0].logprobs.content],
        "replied": "".join(replied),
        "error": error,
    },
    sys.stdout,
)
