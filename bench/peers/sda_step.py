"""The SDA step (equations 4 to 8) and the draw in PyTorch, for one query."""

import math

import torch

K = 2.0
A = 0.2
T0, SIGMA, T_MIN = 0.6, 0.01, 0.2
TOP_P = 0.95
SHORTLIST = 256


def distribution(base, instructed):
    """Logits of the base and the instructed stream, [V] each, to log P' [V]."""
    log_p1 = torch.log_softmax(base.float(), -1)
    log_p2 = torch.log_softmax(instructed.float(), -1)
    log_m = torch.logaddexp(log_p1, log_p2) - math.log(2)
    js = 0.5 * ((log_p1.exp() * (log_p1 - log_m)).sum() + (log_p2.exp() * (log_p2 - log_m)).sum())
    temperature = max(T_MIN, T0 * 0.5 ** (max(js.item(), 0.0) / SIGMA))
    log_p = log_p2 + K * A * (log_p2 - log_p1)
    return torch.log_softmax(log_p / temperature, -1)


def draw_by_sorting(log_p, greedy, generator):
    """top-p as it is usually written: the whole vocabulary sorted."""
    if greedy:
        return int(log_p.argmax())
    probs, ids = log_p.exp().sort(descending=True)
    return _draw(probs, ids, generator)


def draw_from_shortlist(log_p, greedy, generator):
    """The same top-p from the likeliest tokens alone, where they hold enough of the mass."""
    if greedy:
        return int(log_p.argmax())
    values, ids = log_p.topk(SHORTLIST)
    probs = values.exp()
    if probs.sum() < TOP_P:
        return draw_by_sorting(log_p, greedy, generator)
    return _draw(probs, ids, generator)


def _draw(probs, ids, generator):
    before = probs.cumsum(0) - probs
    kept = torch.where(before < TOP_P, probs, 0.0)
    return int(ids[torch.multinomial(kept, 1, generator=generator)])
