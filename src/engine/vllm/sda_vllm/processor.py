"""The logits processor: draws ONE token for each group whose rows are all in the step, and forces it in each of them.

A row whose group is not whole, or is at another token, gets the group's `lone` token, which ends its request: the client
goes on from what all streams have. So no token can be drawn of some of the streams. Works with both of vLLM's
interfaces, Model Runner V1 (`update_state`) and V2 (`add_request`, `LogitsContext`); every rank of tensor parallelism
computes the same, since nothing depends on random numbers of the server.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
import vllm
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor as V1
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as V2

from .about import PROTOCOL, check_vllm
from .arguments import Kinds, Member, member_of
from .carrying import LONE, MARK, carriers_per_row, force, values_of
from .draw import draw
from .start import check_server
from .step import distribution

check_vllm(vllm.__version__)

logger = logging.getLogger("vllm.sda")

PROBED = 5
"""Numbers that a probe brings back, see `SdaLogitsProcessor._probe`"""


@dataclass
class Row:
    """A request of a group while it has a place in the batch."""

    member: Member
    outputs: list[int] | None
    """Model Runner V1: the request's running list of output tokens"""


@dataclass(frozen=True)
class Place:
    """A row of this step's logits."""

    at: int
    member: Member
    index: int
    """Of the token that is drawn, counted in the answer"""


class SdaLogitsProcessor(V1, V2):
    """--logits-processors sda_vllm.processor:SdaLogitsProcessor"""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raises ValueError, which the server answers as 400, for a request that would not be what it asks for."""
        member = member_of(sampling_params.extra_args)
        if member is not None:
            _check(member, sampling_params)

    def __init__(self, vllm_config: Any, *rest: Any) -> None:
        check_server(vllm_config)
        self.config = vllm_config
        self.rows: dict[int, Row] = {}
        self.states = rest[0] if len(rest) == 1 else None  # Model Runner V2: LogitsProcRequestState
        self.lone_rows = 0

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        """Model Runner V1: who came, left and moved."""
        process_dict_updates(self.rows, batch_update, lambda params, _prompt, outputs: _row(params, outputs))

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Model Runner V2: who takes a slot."""
        self.rows.pop(req_idx, None)
        row = _row(sampling_params, None)
        if row is not None:
            self.rows[req_idx] = row
        return row is not None

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        if not self.rows:
            return logits
        groups: dict[str, list[Place]] = defaultdict(list)
        for place in self._places(ctx):
            groups[place.member.group].append(place)
        whole: dict[tuple[int, Kinds], list[list[Place]]] = defaultdict(list)
        lone: list[Place] = []
        for places in groups.values():
            places.sort(key=lambda place: place.member.stream)
            if not _is_whole(places):
                lone += places
            elif places[0].member.probe:
                self._probe(logits, places[0])
            else:
                whole[places[0].member.streams, places[0].member.kinds].append(places)
        for (streams, kinds), some in whole.items():
            try:
                _draw_for(logits, some, streams, kinds)
            except Exception:  # what is raised here ends the server, and every request with it
                logger.exception("sda-vllm: a step failed; its requests are ended")
                lone += [place for places in some for place in places]
        if lone:
            self.lone_rows += len(lone)
            _end(logits, lone)
        return logits

    def _places(self, ctx: Any) -> list[Place]:
        """The rows of this step; those of unfinished prompts too where V1 cannot tell, whose tokens vLLM drops."""
        if ctx is None:
            return [Place(at, row.member, len(row.outputs or ())) for at, row in self.rows.items()]
        places = []
        for at, slot in enumerate(ctx.idx_mapping_np.tolist()):
            row = self.rows.get(slot)
            length = int(ctx.seq_lens_upper_bound_np[at])
            if row is not None and length >= int(self.states.prefill_len.np[slot]):
                places.append(Place(at, row.member, length - int(self.states.prompt_len.np[slot])))
        return places

    def _probe(self, logits: Tensor, place: Place) -> None:
        """Answers a probe: protocol, ids, tensor and pipeline ranks, places."""
        parallel = self.config.parallel_config
        values = [
            PROTOCOL,
            logits.shape[1],
            parallel.tensor_parallel_size,
            parallel.pipeline_parallel_size,
            self.config.scheduler_config.max_num_seqs,
        ]
        _put(logits, [place.at], [place.member.lone], MARK, torch.tensor([values], dtype=torch.float32))


def _row(params: Any, outputs: list[int] | None) -> Row | None:
    member = member_of(params.extra_args)
    return None if member is None else Row(member, outputs)


def _is_whole(places: list[Place]) -> bool:
    first = places[0]
    return [place.member.stream for place in places] == list(range(first.member.streams)) and all(
        place.index == first.index for place in places
    )


def _draw_for(logits: Tensor, groups: list[list[Place]], streams: int, kinds: Kinds) -> None:
    """One token for each of some groups of one kind."""
    device = logits.device
    # what the anchor's request says counts for its group
    heads = [places[kinds.anchor] for places in groups]
    members = [head.member for head in heads]

    def table(lines: list[Any]) -> Tensor:
        return torch.tensor(lines, dtype=torch.float32).to(device, non_blocking=True)

    rows = torch.tensor([[place.at for place in places] for places in groups]).to(device, non_blocking=True)
    lines = logits[rows.reshape(-1)].float()
    lines = lines.reshape(len(groups), streams, -1)
    for group, member in enumerate(members):
        for first, last in member.absent:
            lines[group, :, first : last + 1] = -torch.inf
    numbers = table([member.numbers for member in members])
    found = distribution(lines, numbers, table([member.cut for member in members]), kinds)
    uniforms = [0.0 if m.greedy else m.uniforms[head.index] for m, head in zip(members, heads, strict=True)]
    greedy = torch.tensor([member.greedy for member in members]).to(device, non_blocking=True)
    ids = draw(found.log_p, table([member.draw for member in members]), greedy, table(uniforms))
    lone = torch.tensor([member.lone for member in members]).to(device, non_blocking=True)
    ids = torch.where(found.stats[:, 2] < 0, ids, lone)  # nothing can be drawn: the requests end
    at = ids.unsqueeze(1)
    of_streams = found.streams.gather(2, at.unsqueeze(2).expand(-1, streams, 1))[:, :, 0]
    values = torch.cat([found.stats, found.log_p.gather(1, at), of_streams, found.details], 1)
    each = carriers_per_row(values.shape[1], streams)
    values = torch.nn.functional.pad(values, (0, each * streams - values.shape[1]))
    # number i of a group is carrier i // streams of its stream i % streams
    shared = values.reshape(len(groups), each, streams).transpose(1, 2).reshape(-1, each)
    force(logits, rows.reshape(-1), ids.repeat_interleave(streams), MARK, shared)


def _end(logits: Tensor, lone: list[Place]) -> None:
    """Ends rows whose group is not whole."""
    empty = torch.empty(len(lone), 0)
    _put(logits, [place.at for place in lone], [place.member.lone for place in lone], LONE, empty)


def _put(logits: Tensor, rows: list[int], ids: list[int], mark: float, values: Tensor) -> None:
    device = logits.device
    force(logits, torch.tensor(rows, device=device), torch.tensor(ids, device=device), mark, values.to(device))


def _check(member: Member, params: Any) -> None:
    """That the request's own settings leave the drawn token and its numbers alone."""
    most = params.max_tokens or 0
    if not member.probe and not member.greedy and len(member.uniforms) < most:
        raise ValueError(
            f"sda.uniforms must have a number for each of max_tokens = {most}, but has {len(member.uniforms)}."
        )
    if not member.probe and member.lone not in (params.stop_token_ids or []):
        raise ValueError(f"sda.lone must be one of stop_token_ids, but is {member.lone}.")
    needed = PROBED if member.probe else carriers_per_row(
        values_of(member.streams, member.kinds.details), member.streams
    )
    if (params.logprobs or 0) < needed + 1:
        raise ValueError(f"sda: logprobs must be at least {needed + 1} here, but is {params.logprobs}.")
    asked = {
        "temperature": (params.temperature, 0),
        "n": (params.n, 1),
        "presence_penalty": (params.presence_penalty, 0),
        "frequency_penalty": (params.frequency_penalty, 0),
        "repetition_penalty": (params.repetition_penalty, 1),
        "min_tokens": (params.min_tokens, 0),
        "logit_bias": (params.logit_bias or None, None),
        "allowed_token_ids": (params.allowed_token_ids or None, None),
        "bad_words": (params.bad_words or None, None),
        "structured_outputs": (params.structured_outputs, None),
    }
    for name, (found, wanted) in asked.items():
        if found != wanted:
            raise ValueError(f"sda: {name} must be {wanted} in a request of a group, but is {found}.")
