"""Eqs 4-8 of SDA and every other blend of streams, batched over groups, on whatever device the logits are on.

Float32, and line by line what kernels/step/reference.ts of the TypeScript package computes, on the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import NUMBERS, Kinds
from .draw import ranked

LOG_PROB_FLOOR = -1e4
"""Of a stream with a weight below 0: what is impossible there alone keeps a finite score."""

LEAST_TEMPERATURE = 1e-6
MAX_GAP = 80.0
FINITE = 1e30

_COLUMN = {name: index for index, name in enumerate(NUMBERS)}


@dataclass
class Distribution:
    """Of B groups with S streams over V tokens, float32."""

    log_p: Tensor
    """[B, V]: log P', what the token is drawn from"""
    streams: Tensor
    """[B, S, V]: log P of each stream, temperature 1"""
    stats: Tensor
    """[B, 4]: JS, T, the first unusable stream and its token (see `first_unusable`)"""
    details: Tensor
    """[B, 3 + 2 S]: entropy of the score, divergence of all streams, kept mass, entropies, weights; or [B, 0]"""


def distribution(logits: Tensor, numbers: Tensor, cut: Tensor, kinds: Kinds) -> Distribution:
    """P' of groups of one kind.

    logits [B, S, V]; numbers [B, 9 + S], see NUMBERS; cut [B, 3]: top_k, top_p, temperature of the mask "least".
    """

    def column(name: str) -> Tensor:
        return numbers[:, _COLUMN[name], None]  # [B, 1]

    B, S, _ = logits.shape
    streams = torch.log_softmax(logits, 2)
    js = _jensen_shannon(streams[:, kinds.pair[0]], streams[:, kinds.pair[1]]) if _measured(kinds) else _zeros(B, logits)
    factor = torch.maximum(js, column("weight_floor")) if kinds.weights == "js" else 1.0
    weights = numbers[:, len(NUMBERS) :] * factor  # [B, S]
    weights = weights * (torch.arange(S, device=logits.device) != kinds.anchor)
    kept = _kept_tokens(logits, streams, column("alpha"), cut, kinds)
    score = _score(streams, weights, column("total"), column("positive_floor"), kinds.anchor)
    if kept is not None:
        score = score.masked_fill(~kept, -torch.inf)
    by_entropy = kinds.temperature == "entropy" or kinds.details
    entropy = _entropy(torch.log_softmax(score, 1)) if by_entropy else js
    temperature = _temperature(column, js, entropy, kinds.temperature)
    shifted = (score - score.amax(1, keepdim=True)).div_(temperature)
    log_p = torch.log_softmax(shifted, 1)
    stats = torch.cat([js, temperature, logits.new_full((B, 2), -1.0)], 1)
    details = log_p.new_empty(B, 0)
    if kinds.details:
        net = weights.clone()
        net[:, kinds.anchor] = numbers[:, _COLUMN["total"]] - weights.sum(1)
        mass = torch.ones_like(js) if kept is None else _kept_mass(streams[:, kinds.mask_stream], kept)
        entropies = torch.cat([_entropy(streams[:, s]) for s in range(S)], 1)
        details = torch.cat([entropy, _general_jensen_shannon(streams), mass, entropies, net], 1)
    bad = first_unusable(logits, score)
    if bad is not None:
        sound = bad[:, :1] < 0
        stats = torch.cat([torch.where(sound, stats[:, :2], 0.0), bad], 1)
        log_p, details = torch.where(sound, log_p, 0.0), torch.where(sound, details, 0.0)
    return Distribution(log_p, streams, stats, details)


def _measured(kinds: Kinds) -> bool:
    return kinds.pair[0] != kinds.pair[1]


def _zeros(B: int, like: Tensor) -> Tensor:
    return like.new_zeros(B, 1)


def _jensen_shannon(log_p1: Tensor, log_p2: Tensor) -> Tensor:
    """[B, V] twice -> [B, 1], nats, 0..ln 2, without cancellation: with d = log P2 - log P1,
    log P1 - log M = -log1p(expm1(d) / 2), which is exactly 0 where the streams agree."""
    gap = (log_p2 - log_p1).nan_to_num_(nan=0.0).clamp_(-MAX_GAP, MAX_GAP)
    # in place: a line of the vocabulary is large, and new memory costs more than what is computed in it
    terms = torch.expm1(gap).mul_(0.5).log1p_().mul_(log_p1.exp())
    terms.addcmul_(gap.neg_().expm1_().mul_(0.5).log1p_(), log_p2.exp())
    return (terms.sum(1, keepdim=True) * -0.5).clamp(0, math.log(2))


def _general_jensen_shannon(streams: Tensor) -> Tensor:
    """[B, S, V] -> [B, 1]: the mean of KL(P || M), M the mean distribution; none of the terms summed is negative."""
    S = streams.shape[1]
    probs = streams.exp()
    mean = probs.mean(1, keepdim=True)
    r = torch.where(mean > 0, (probs - mean) / mean, 0.0)
    grown = torch.where(r > -1, (r + 1) * torch.log1p(r), 0.0)
    terms = mean * (grown - r)
    return (terms.sum((1, 2)) / S).clamp(0, math.log(S)).unsqueeze(1)


def _entropy(log_p: Tensor) -> Tensor:
    """[B, V] -> [B, 1], nats; 0 log 0 = 0, and never -0."""
    terms = torch.where(torch.isfinite(log_p), log_p.exp() * log_p, 0.0)
    entropy = -terms.sum(1, keepdim=True)
    return torch.where(entropy > 0, entropy, 0.0)


def _score(streams: Tensor, weights: Tensor, total: Tensor, positive_floor: Tensor, anchor: int) -> Tensor:
    """sum of w_i log P_i, as the anchor's log P and pulls towards the others: [B, V]."""
    ours = streams[:, anchor]
    start = ours.clamp(min=-FINITE)  # what is impossible there is taken out at the end
    score = start * total
    for stream in range(streams.shape[1]):
        if stream == anchor:
            continue
        weight = weights[:, stream, None]
        # 0 * -inf is no number: with a weight of 0 a floor keeps it one
        floor = torch.where(weight <= 0, LOG_PROB_FLOOR, positive_floor)
        score.addcmul_(weight, torch.maximum(streams[:, stream], floor).sub_(start))
    score.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    return score.masked_fill_(ours == -torch.inf, -torch.inf)


def _kept_tokens(logits: Tensor, streams: Tensor, alpha: Tensor, cut: Tensor, kinds: Kinds) -> Tensor | None:
    """Which tokens the mask keeps, bool [B, V]; None without one."""
    if kinds.mask == "none":
        return None
    if kinds.mask == "plausible":
        line = streams[:, kinds.mask_stream]
        return line >= line.amax(1, keepdim=True) + alpha.log()
    line = logits[:, kinds.mask_stream]
    return line >= least_kept(line, cut)


def least_kept(line: Tensor, cut: Tensor) -> Tensor:
    """The least logit [B, 1] that top-k and then top-p, at a temperature, keep of [B, V]; -inf where nothing is cut."""
    V = line.shape[1]
    top_k, top_p = cut[:, :1], cut[:, 1:2]
    top_k = torch.where(top_k < V, top_k, 0.0)
    all_kept = (top_k <= 0) & (top_p >= 1)
    largest = line.amax(1, keepdim=True)
    all_kept = all_kept | ~torch.isfinite(largest)
    if bool(all_kept.all()):
        return torch.full_like(largest, -torch.inf)
    scaled = (line - largest) / cut[:, 2:].clamp(min=LEAST_TEMPERATURE)
    scaled = torch.where(torch.isnan(scaled), -torch.inf, scaled)
    all_mass = scaled.exp().sum(1, keepdim=True, dtype=torch.float64)
    order = ranked(scaled, top_k, top_p, torch.zeros_like(top_p), all_mass)
    last = order.ids.gather(1, order.count - 1)
    return torch.where(all_kept, -torch.inf, line.gather(1, last))


def _kept_mass(log_p: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, log_p.exp(), 0.0).sum(1, keepdim=True).clamp(max=1)


def _temperature(column, js: Tensor, entropy: Tensor, kind: str) -> Tensor:
    """T of each group, [B, 1]."""
    t0 = column("t0")
    if kind == "fixed":
        return t0.clamp(min=LEAST_TEMPERATURE)
    least = column("t_min").clamp(min=LEAST_TEMPERATURE)
    if kind == "divergence":
        return torch.maximum(torch.pow(0.5, js / column("sigma")) * t0, least)
    theta = column("theta")
    scaled = torch.pow(column("entropy_base"), theta / entropy) * t0
    return torch.maximum(torch.where(theta == 0, t0, scaled), least)


def first_unusable(logits: Tensor, score: Tensor) -> Tensor | None:
    """The first unusable logit of each group as (stream, token), [B, 2]: NaN or +inf, or (stream, -1) where a stream
    has no finite logit; (S, -1) where every stream is sound, but no score is finite; else (-1, -1). None: all are sound."""
    B, S, _ = logits.shape
    largest = logits.amax(2)  # NaN where there is one
    unusable = ~torch.isfinite(largest)  # [B, S]: NaN, +inf, or -inf throughout
    # what a sound step costs is this one look at it; the token is searched for where there is one
    usable = torch.isfinite(score.amax(1, keepdim=True))
    if not bool(unusable.any() | ~usable.all()):
        return None
    bad = logits.new_full((B, 2), -1.0)
    for group in range(B):
        streams = unusable[group].nonzero()
        if len(streams) > 0:
            stream = int(streams[0])
            line = logits[group, stream]
            tokens = (torch.isnan(line) | (line == torch.inf)).nonzero()
            bad[group, 0] = stream
            bad[group, 1] = int(tokens[0]) if len(tokens) > 0 else -1
        elif not bool(usable[group]):
            bad[group, 0] = S
    return bad


