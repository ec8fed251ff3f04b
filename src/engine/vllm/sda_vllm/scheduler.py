"""Keeps the requests of a group in step: none draws a token before all of them can draw the same one.

Before each step a group is READY when all its requests run and each has exactly one token left to compute, at the same
length of output. Of a request of a group that is not, the last token is hidden from vLLM's scheduler, so that it prefills
up to that token and then waits: for a partner to arrive, to prefill in chunks, to come back from a preemption. Ready
groups stand first among the running, so that budget and cache are theirs before anything else's, and are preempted whole.
Where all that is left waits for room that others of it hold, the oldest whole group gets it.

The members of vLLM's classes that this uses are those of the releases in about.py; test/engine/vllm has a simulation.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

from .arguments import groupless, member_of
from .groups import Group, Groups

NO_ROOM = "the KV cache of this server has no room for all streams of this answer: give it more memory, or ask for less"


class Grouping:
    """Beside vLLM's scheduler, before it in the order of resolution."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups = Groups()
        self._hidden: list[tuple[Request, int]] = []
        self._failed: dict[str, str] = {}  # request id -> why
        self._stuck = 0  # steps in a row in which nothing could be done

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        args = request.sampling_params.extra_args if request.sampling_params else None
        if groupless(args):
            return
        member = member_of(args)
        if member.streams > 1:
            why = self._groups.add(member, request, time.monotonic())
            if why is not None:
                self._failed[request.request_id] = why

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        held = self._arrange() if self._groups else []
        try:
            output = super().schedule(*args, **kwargs)
        finally:
            self._reveal()
        self._stuck = self._stuck + 1 if held and self._is_idle(output) else 0
        return output

    def update_from_output(self, *args: Any, **kwargs: Any) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(*args, **kwargs)
        failed, self._failed = self._failed, {}
        for request in self.finish_requests(list(failed), RequestStatus.FINISHED_ABORTED) if failed else []:
            told = EngineCoreOutput(
                request_id=request.request_id,
                new_token_ids=[],
                finish_reason=request.get_finished_reason(),
                stop_reason=f"sda: {failed[request.request_id]}",
                trace_headers=request.trace_headers,
            )
            of_client = outputs.setdefault(request.client_index, EngineCoreOutputs())
            of_client.outputs = [*of_client.outputs, told]
        self._groups.forget_finished()
        return outputs

    def _make_cached_request_data(self, *args: Any, **kwargs: Any) -> Any:
        self._reveal()  # how much is run has been decided; the workers are told of whole requests
        return super()._make_cached_request_data(*args, **kwargs)

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        self._reveal()  # what counts as an unfinished prompt is judged by the whole request
        super()._update_after_schedule(scheduler_output)

    def _reveal(self) -> None:
        while self._hidden:
            request, token = self._hidden.pop()
            request._all_token_ids.append(token)

    def _arrange(self) -> list[Group]:
        """Ready groups first, the last tokens of all others hidden. Answers the whole groups that are not ready."""
        now = time.monotonic()
        ready: list[list[Request]] = []
        held: list[Group] = []
        hidden: list[Request] = []
        for group in self._groups:
            alive = group.alive()
            problem = group.problem(now, self.max_num_running_reqs)
            if problem is not None:
                self._failed.update((request.request_id, problem) for request in alive)
                hidden += alive
            elif len(alive) < group.streams or not self._is_ready(alive):
                held += [group] if len(alive) == group.streams else []
                hidden += alive
            else:
                ready.append(alive)
        ready, late = _within(ready, min(self.max_num_scheduled_tokens, self.scheduler_config.max_num_batched_tokens))
        if self._stuck > 1 and held and not ready:
            self._make_room_for(held[0], now)
        late += self._fit(ready, now)
        hidden += [request for group in late for request in group]
        first = [request for group in ready for request in group]
        ids = {request.request_id for request in first}
        self.running = first + [request for request in self.running if request.request_id not in ids]
        for request in hidden:
            if self._left(request) >= 1 and request.num_tokens > 1:
                self._hidden.append((request, request._all_token_ids.pop()))
        return held

    def _is_ready(self, requests: list[Request]) -> bool:
        outputs = {request.num_output_tokens + request.num_output_placeholders for request in requests}
        return len(outputs) == 1 and all(
            request.status == RequestStatus.RUNNING
            and self._left(request) == 1
            and request.next_decode_eligible_step <= self.current_step + 1
            for request in requests
        )

    @staticmethod
    def _left(request: Request) -> int:
        """Tokens that are known and not computed."""
        return request.num_tokens_with_spec + request.num_output_placeholders - request.num_computed_tokens

    def _fit(self, ready: list[list[Request]], now: float) -> list[list[Request]]:
        """Preempts until the cache holds the next token of all ready groups. Answers those that are not ready any more."""
        late: list[list[Request]] = []
        firsts = {request.request_id for group in ready for request in group}
        while ready and self._blocks_for(ready) > self.kv_cache_manager.block_pool.get_num_free_blocks():
            others = [request for request in self.running if request.request_id not in firsts]
            if others:
                self._preempt([others[-1]], now)
            elif len(ready) > 1:
                late.append(ready.pop())
                self._preempt(late[-1], now)
            else:
                late.append(ready.pop())
                if not self._in_flight():
                    self._failed.update((request.request_id, NO_ROOM) for request in late[-1])
        return late

    def _blocks_for(self, groups: list[list[Request]]) -> int:
        """Blocks that the next tokens of these need, at most."""
        managers = self.kv_cache_manager.coordinator.single_type_managers
        return sum(
            request.num_computed_tokens % manager.block_size == 0
            for group in groups
            for request in group
            for manager in managers
        )

    def _make_room_for(self, group: Group, now: float) -> None:
        """Nothing runs, and all of it waits: what others hold of the cache goes to one group, which comes first."""
        own = {request.request_id for request in group.alive()}
        others = [request for request in self.running if request.request_id not in own]
        if others:
            self._preempt(others, now)
        elif self._stuck > 3:
            self._failed.update((request_id, NO_ROOM) for request_id in own)
        for request in reversed(group.alive()):
            if request.status != RequestStatus.RUNNING and request in self.waiting:
                self.waiting.remove_request(request)
                self.waiting.prepend_request(request)

    def _preempt(self, requests: list[Request], now: float) -> None:
        for request in reversed(requests):  # each is put before the others
            self.running.remove(request)
            self._preempt_request(request, now)

    def _in_flight(self) -> bool:
        return any(request.num_in_flight_tokens > 0 for request in self.requests.values())

    def _is_idle(self, output: Any) -> bool:
        return output.total_num_scheduled_tokens == 0 and not self._in_flight() and not self._failed


def _within(groups: list[list[Request]], budget: int) -> tuple[list[list[Request]], list[list[Request]]]:
    """Those that a step's tokens suffice for, one a request, and the rest."""
    rows = 0
    for index, group in enumerate(groups):
        rows += len(group)
        if rows > budget:
            return groups[:index], groups[index:]
    return groups, []


class SdaScheduler(Grouping, Scheduler):
    """--scheduler-cls sda_vllm.scheduler.SdaScheduler"""


class SdaAsyncScheduler(Grouping, AsyncScheduler):
    """--scheduler-cls sda_vllm.scheduler.SdaAsyncScheduler, with asynchronous scheduling"""
