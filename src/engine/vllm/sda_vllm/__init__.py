"""SDA, and other rules over several prompts, on a vLLM server.

    --logits-processors sda_vllm.processor:SdaLogitsProcessor
    --scheduler-cls sda_vllm.scheduler.SdaAsyncScheduler    (SdaScheduler with --no-async-scheduling)
    --logprobs-mode processed_logits

A query is a group of streamed completion requests, one for each of its streams, tied by `vllm_xargs: {"sda": ...}`.
"""
