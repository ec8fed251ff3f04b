"""Top-k, top-p and min-p without a sort of the vocabulary, and the draw by inverse transform.

Tokens are ranked by log-probability, equal ones by the lower id; each cut keeps a prefix of that ranking. The likeliest
tokens are ranked first, and more of them only where the cut may lie beyond: as kernels/sample of the TypeScript package.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_RANKED = 512
"""Tokens that are ranked at first; a usual nucleus has a few tens"""

CUT_ROUNDING = 1e-6
"""Log-probabilities are rounded to float32: a mass that reaches top-p or min-p but for this share reaches it."""


@dataclass
class Ranked:
    """The likeliest R tokens of B lines, in the order of their ranks."""

    ids: Tensor
    """int64 [B, R]"""
    mass: Tensor
    """float64 [B, R]: probability relative to the likeliest token's"""
    count: Tensor
    """int64 [B, 1]: how many of them are kept, at least one"""


def draw(log_p: Tensor, cuts: Tensor, greedy: Tensor, uniforms: Tensor) -> Tensor:
    """One token id a line: int64 [B].

    log_p [B, V]; cuts [B, 3]: top_k, top_p, min_p; greedy bool [B]; uniforms [B], in 0..1, 1 excluded.
    """
    if bool(greedy.all()):
        return log_p.argmax(1)
    top_k, top_p, min_p = (cuts[:, i, None] for i in range(3))
    if bool(((top_k <= 0) & (top_p >= 1)).all()):
        ids = _over_all(log_p, min_p, uniforms)
    else:
        all_mass = (-log_p.amax(1, keepdim=True)).double().exp()  # log P' is normalised
        order = ranked(log_p, top_k, top_p, min_p, all_mass)
        ids = _among(order, uniforms)
    return torch.where(greedy, log_p.argmax(1), ids) if bool(greedy.any()) else ids


def ranked(log_p: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, all_mass: Tensor) -> Ranked:
    """As many of the likeliest tokens as the cuts, [B, 1] each, need to be certain.

    all_mass: of all tokens, relative to the likeliest; float64 [B, 1].
    """
    V = log_p.shape[1]
    size = min(V, FIRST_RANKED)
    while True:
        values, ids = torch.topk(log_p, size, dim=1)
        ids, by_id = ids.sort(1)
        values, by_value = values.gather(1, by_id).sort(dim=1, descending=True, stable=True)
        ids = ids.gather(1, by_value)
        mass = (values - values[:, :1]).double().exp()
        count = kept_count(mass, all_mass, top_k, top_p, min_p)
        # equal tokens at the border may be outside of what topk found
        last = values.gather(1, count - 1)
        if size == V or bool((last > values[:, -1:]).all()):
            return Ranked(ids, mass, count)
        size = min(V, size * 8)


def kept_count(mass: Tensor, all_mass: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """How many of the ranked tokens stay: float64 [B, R] masses in descending order -> int64 [B, 1]."""
    rank = torch.arange(mass.shape[1], device=mass.device)
    within = (rank < top_k) | (top_k <= 0)
    head = torch.where(within, mass, 0.0)
    whole = torch.where(top_k > 0, head.sum(1, keepdim=True), all_mass)
    before = head.cumsum(1) - head
    in_nucleus = (before < top_p.double() * (1 - CUT_ROUNDING) * whole) | (top_p >= 1)
    likely = head >= min_p.double() * (1 - CUT_ROUNDING)
    kept = (head > 0) & in_nucleus & likely
    return kept.sum(1, keepdim=True).clamp(min=1)


def _among(order: Ranked, uniforms: Tensor) -> Tensor:
    """Inverse transform over the kept tokens in the order of their ids."""
    size = int(order.count.max())
    kept = torch.arange(size, device=order.ids.device) < order.count
    ids, by_id = order.ids[:, :size].sort(1)
    mass = torch.where(kept, order.mass[:, :size], 0.0).gather(1, by_id)
    return ids.gather(1, _reached(mass, uniforms))[:, 0]


def _over_all(log_p: Tensor, min_p: Tensor, uniforms: Tensor) -> Tensor:
    """The same over the vocabulary, which min-p alone cuts."""
    mass = (log_p - log_p.amax(1, keepdim=True)).double().exp()
    mass = torch.where(mass >= min_p.double() * (1 - CUT_ROUNDING), mass, 0.0)
    return _reached(mass, uniforms)[:, 0]


def _reached(mass: Tensor, uniforms: Tensor) -> Tensor:
    """The first place whose cumulative mass exceeds u times the total: [B, N] -> int64 [B, 1]."""
    cumulative = mass.cumsum(1)
    target = uniforms.double().unsqueeze(1) * cumulative[:, -1:]
    reached = (cumulative > target) & (mass > 0)
    last = mass.shape[1] - 1 - (mass > 0).flip(1).to(torch.uint8).argmax(1, keepdim=True)
    first = reached.to(torch.uint8).argmax(1, keepdim=True)
    return torch.where(reached.any(1, keepdim=True), first, last)
