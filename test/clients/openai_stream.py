"""The `openai` package of Python over `sda serve`, as docs/serving.md has it: streamed and whole are the same text.

    pip install openai
    npx sda serve --port 8000 &
    python test/clients/openai_stream.py http://127.0.0.1:8000
"""

import sys

from openai import OpenAI

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
request = {
    "model": client.models.list().data[0].id,
    "messages": [{"role": "user", "content": "How do I comfort a friend who failed an exam?"}],
    "extra_body": {"sda": {"core": "empathy", "evaluator": "intrinsic"}},
    "seed": 1,
    "max_tokens": 48,
}
streamed = ""
for chunk in client.chat.completions.create(**request, stream=True):
    streamed += chunk.choices[0].delta.content or ""
whole = client.chat.completions.create(**request)
print(streamed)
print(whole.sda["score"], whole.sda["amplification"])
assert streamed == whole.choices[0].message.content
