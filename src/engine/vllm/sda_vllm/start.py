"""What a server must be started with: checked before it takes requests."""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from .scheduler import Grouping, SdaAsyncScheduler, SdaScheduler


def check_server(config: Any) -> None:
    """Raises ValueError with a sentence where requests of groups could not be served by this server."""
    if config.speculative_config is not None:
        raise ValueError("sda-vllm: a token is drawn for all streams of a group: start without speculative decoding.")
    mode = str(config.model_config.logprobs_mode)
    if mode != "processed_logits":
        raise ValueError(
            f"sda-vllm: what a step says of its token goes by the logits: start with --logprobs-mode processed_logits, "
            f"not {mode}."
        )
    if config.parallel_config.data_parallel_size > 1:
        raise ValueError(
            "sda-vllm: the requests of a group must reach one engine: start without data parallelism, and one server for "
            "each replica."
        )
    scheduler = config.scheduler_config
    if scheduler.policy != "fcfs":
        raise ValueError(
            f"sda-vllm: which requests give way is told by their order of arrival: start with --scheduling-policy fcfs, "
            f"not {scheduler.policy}."
        )
    used = scheduler.get_scheduler_cls()
    wanted = SdaAsyncScheduler if scheduler.async_scheduling else SdaScheduler
    if not issubclass(used, Grouping) or issubclass(used, AsyncScheduler) != bool(scheduler.async_scheduling):
        how = "asynchronous" if scheduler.async_scheduling else "synchronous"
        raise ValueError(
            f"sda-vllm: this server schedules by {used.__module__}.{used.__name__}, {how} here: start with "
            f"--scheduler-cls {wanted.__module__}.{wanted.__name__}."
        )
