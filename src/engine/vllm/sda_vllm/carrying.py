"""What a step says of a token, on its way to the client as "logits" that vLLM reports beside the token.

The drawn token's own logit is a mark, above all others; the rest of the row is -inf but for some carriers, the ids 0, 1,
2, ... without the drawn one. vLLM reports the marked token and the likeliest others (`logprobs`), each with its logit
(`--logprobs-mode processed_logits`), and cuts what is below -9999: so a number below 0 is carried as its magnitude times
2^90, and -inf as 2^122. All of this is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

MARK = 2.0**126
"""Of the token that was drawn for the whole group"""

LONE = 2.0**125
"""Of the token that ends a request whose group is not whole"""

_NEGATIVE = 2.0**90
_MINUS_INFINITY = 2.0**122


def carried(values: Tensor) -> Tensor:
    """float32, of any sign, between 2^-59 and 2^30 in magnitude (less is 0) -> what vLLM reports unchanged."""
    least, most = 2.0**-59, 2.0**30
    size = values.abs().clamp(max=most)
    size = torch.where(size < least, 0.0, size)
    coded = torch.where(values < 0, size * _NEGATIVE, size)
    coded = torch.where(size == 0, 0.0, coded)
    return torch.where(values == -torch.inf, _MINUS_INFINITY, coded)


def carriers_per_row(values: int, streams: int) -> int:
    """Of `values` numbers that the rows of a group share, how many a row has at most."""
    return -(-values // streams)


def values_of(streams: int, details: bool) -> int:
    """JS, T, the unusable stream and token, log P', log P of each stream; see `Distribution.details`."""
    return 5 + streams + (3 + 2 * streams if details else 0)


def force(logits: Tensor, rows: Tensor, ids: Tensor, mark: float, values: Tensor) -> None:
    """Leaves rows nothing but a token and what they carry, in place.

    logits [N, V]; rows, ids int64 [R]; values float32 [R, C], of which carrier c of a row takes column c.
    """
    logits[rows] = -torch.inf
    carrier = torch.arange(values.shape[1], device=logits.device).unsqueeze(0)
    carrier = carrier + (carrier >= ids.unsqueeze(1))
    logits[rows.unsqueeze(1), carrier] = carried(values)
    logits[rows, ids] = mark
