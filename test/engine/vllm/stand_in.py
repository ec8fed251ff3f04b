"""A stand-in of the parts of vLLM's scheduler that sda_vllm.scheduler builds on, for simulate.py where there is no vLLM:
first come, first served; prompts in chunks; blocks of a cache without sharing; preemption of the last; steps in flight.
"""

from __future__ import annotations

import enum
import sys
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

BLOCK = 16


class RequestStatus(enum.IntEnum):
    WAITING = 1
    RUNNING = 2
    PREEMPTED = 3
    FINISHED_STOPPED = 4
    FINISHED_ABORTED = 5


class Request:
    def __init__(self, name: str, prompt: list[int], most: int, extra_args: dict | None) -> None:
        self.request_id = name
        self.client_index = 0
        self.trace_headers = None
        self.sampling_params = SimpleNamespace(extra_args=extra_args)
        self.num_prompt_tokens = len(prompt)
        self.max_tokens = most
        self.status = RequestStatus.WAITING
        self._all_token_ids = list(prompt)
        self.output: list[int] = []
        self.num_computed_tokens = self.num_output_placeholders = self.num_in_flight_tokens = 0
        self.num_stale_output_tokens = self.num_preemptions = self.next_decode_eligible_step = 0
        self.is_prefill_chunk = False
        self.blocks = 0

    @property
    def num_tokens(self) -> int:
        return len(self._all_token_ids)

    num_tokens_with_spec = num_tokens

    @property
    def num_output_tokens(self) -> int:
        return len(self.output)

    def is_finished(self) -> bool:
        return self.status > RequestStatus.PREEMPTED

    def get_finished_reason(self) -> str | None:
        return {RequestStatus.FINISHED_STOPPED: "length", RequestStatus.FINISHED_ABORTED: "abort"}.get(self.status)


@dataclass
class EngineCoreOutput:
    request_id: str
    new_token_ids: list[int]
    finish_reason: str | None = None
    stop_reason: str | None = None
    trace_headers: object = None


@dataclass
class EngineCoreOutputs:
    outputs: list[EngineCoreOutput] = field(default_factory=list)


class Queue(deque):
    def remove_request(self, request: Request) -> None:
        self.remove(request)

    def prepend_request(self, request: Request) -> None:
        self.appendleft(request)


class Scheduler:
    is_async = False

    def __init__(self, blocks: int, budget: int, places: int) -> None:
        self.free = blocks - 1
        self.max_num_running_reqs = places
        self.max_num_scheduled_tokens = budget
        self.scheduler_config = SimpleNamespace(max_num_batched_tokens=budget)
        pool = SimpleNamespace(get_num_free_blocks=lambda: self.free)
        coordinator = SimpleNamespace(single_type_managers=[SimpleNamespace(block_size=BLOCK)])
        self.kv_cache_manager = SimpleNamespace(block_pool=pool, coordinator=coordinator)
        self.requests: dict[str, Request] = {}
        self.running: list[Request] = []
        self.waiting = Queue()
        self.current_step = 0

    def has_unfinished_requests(self) -> bool:
        return bool(self.running or self.waiting)

    def add_request(self, request: Request) -> None:
        self.requests[request.request_id] = request
        self.waiting.append(request)

    def schedule(self):
        self.current_step += 1
        budget, scheduled, preempted = self.max_num_scheduled_tokens, {}, False
        at = 0
        while at < len(self.running) and budget > 0:
            request = self.running[at]
            count = min(self._todo(request), budget)
            at += 1
            if count <= 0:
                continue
            while not self._allocate(request, count):
                victim = self.running.pop()
                self._preempt_request(victim, 0.0)
                preempted = True
                if victim is request:
                    count = 0
                    break
            if count == 0:
                break
            scheduled[request.request_id] = count
            budget -= count
        while self.waiting and not preempted and budget > 0 and len(self.running) < self.max_num_running_reqs:
            request = self.waiting[0]
            whole = -(-request.num_tokens // BLOCK)
            count = min(request.num_tokens, budget)
            if request.num_stale_output_tokens > 0 or whole > self.free or not self._allocate(request, count):
                break
            self.waiting.popleft()
            request.status = RequestStatus.RUNNING
            self.running.append(request)
            scheduled[request.request_id] = count
            budget -= count
        self._make_cached_request_data()
        output = SimpleNamespace(num_scheduled_tokens=scheduled, total_num_scheduled_tokens=sum(scheduled.values()))
        self._update_after_schedule(output)
        return output

    def _todo(self, request: Request) -> int:
        placeholders = request.num_output_placeholders
        if placeholders > 0 and request.num_output_tokens + placeholders >= request.max_tokens:
            return 0
        return request.num_tokens_with_spec + placeholders - request.num_computed_tokens

    def _allocate(self, request: Request, count: int) -> bool:
        needed = -(-(request.num_computed_tokens + count) // BLOCK) - request.blocks
        if needed > self.free:
            return False
        self.free -= max(0, needed)
        request.blocks += max(0, needed)
        return True

    def _release(self, request: Request) -> None:
        self.free += request.blocks
        request.blocks = 0

    def _preempt_request(self, request: Request, timestamp: float) -> None:
        assert request.status == RequestStatus.RUNNING
        self._release(request)
        request.status = RequestStatus.PREEMPTED
        request.num_computed_tokens = request.num_output_placeholders = 0
        request.num_stale_output_tokens = request.num_in_flight_tokens
        request.num_preemptions += 1
        self.waiting.prepend_request(request)

    def _make_cached_request_data(self) -> None:
        pass

    def _update_after_schedule(self, output) -> None:
        for name, count in output.num_scheduled_tokens.items():
            request = self.requests[name]
            request.num_computed_tokens += count
            request.num_in_flight_tokens += count
            known = request.num_tokens + request.num_output_placeholders
            request.is_prefill_chunk = request.num_computed_tokens < known
            if self.is_async and not request.is_prefill_chunk:
                request.num_output_placeholders += 1

    def update_from_output(self, output, tokens: dict[str, int]) -> dict[int, EngineCoreOutputs]:
        told = EngineCoreOutputs()
        for name, count in output.num_scheduled_tokens.items():
            request = self.requests.get(name)
            if request is None:
                continue
            request.num_in_flight_tokens -= count
            stale = request.num_stale_output_tokens > 0
            if stale:
                request.num_stale_output_tokens -= count
            if name not in tokens:
                continue
            request.output.append(tokens[name])
            request._all_token_ids.append(tokens[name])
            if self.is_async and not stale:
                request.num_output_placeholders -= 1
                assert request.num_output_placeholders >= 0
            reason = None
            if request.num_output_tokens >= request.max_tokens:
                self._finish(request, RequestStatus.FINISHED_STOPPED)
                reason = "length"
            told.outputs.append(EngineCoreOutput(name, [tokens[name]], reason))
        return {0: told} if told.outputs else {}

    def finish_requests(self, names: list[str], status: RequestStatus) -> list[Request]:
        found = [self.requests[name] for name in names if name in self.requests]
        for request in found:
            self._finish(request, status)
        return found

    def _finish(self, request: Request, status: RequestStatus) -> None:
        (self.running if request.status == RequestStatus.RUNNING else self.waiting).remove(request)
        request.status = status
        self._release(request)
        del self.requests[request.request_id]


class AsyncScheduler(Scheduler):
    is_async = True


def install() -> None:
    """Lets sda_vllm.scheduler find these in place of vLLM's."""
    modules = {
        "vllm.v1.core.sched.scheduler": {"Scheduler": Scheduler},
        "vllm.v1.core.sched.async_scheduler": {"AsyncScheduler": AsyncScheduler},
        "vllm.v1.engine": {"EngineCoreOutput": EngineCoreOutput, "EngineCoreOutputs": EngineCoreOutputs},
        "vllm.v1.request": {"Request": Request, "RequestStatus": RequestStatus},
    }
    for name, members in modules.items():
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:length]), ModuleType(".".join(parts[:length])))
        vars(sys.modules[name]).update(members)


class Backend:
    stock = Scheduler

    def scheduler(self, cls, blocks: int, budget: int, places: int, is_async: bool):
        return cls(blocks, budget, places)

    def request(self, name: str, prompt: list[int], most: int, extra_args: dict | None) -> Request:
        return Request(name, prompt, most, extra_args)

    def abort(self, scheduler, names: list[str]) -> None:
        scheduler.finish_requests(names, RequestStatus.FINISHED_ABORTED)

    def update(self, scheduler, output, tokens: dict[str, int]):
        for of_client in scheduler.update_from_output(output, tokens).values():
            for one in of_client.outputs:
                yield one.request_id, one.new_token_ids, one.stop_reason or one.finish_reason or ""
