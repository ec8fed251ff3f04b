"""The argument `sda` of a request: which group it belongs to, and how the group's tokens are drawn. No torch, no vLLM.

A JSON text, since vLLM takes texts, numbers and lists of them only:

    protocol   1
    group      unique; the requests of one group have the same one
    stream     which of them this is, 0 .. streams - 1
    streams    how many there are, 1 .. 8
    kinds      how streams are combined, see KINDS below
    numbers    of the step, see NUMBERS below; "weights" has one a stream
    cut        top_k, top_p, temperature: what the mask "least" keeps of its stream
    draw       top_k, top_p, min_p, greedy
    uniforms   one number in 0..1 (1 excluded) for each of max_tokens; none where greedy
    absent     [first, last] ranges of ids that no token has
    lone       the token that ends a request whose group is not whole; one of stop_token_ids
    probe      true: no step, but what this server is; of a group of one stream
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .about import PROTOCOL, VERSION

MOST_STREAMS = 8
MOST_GROUP = 128
WEIGHTS = ("fixed", "js")
MASKS = ("none", "plausible", "least")
TEMPERATURES = ("fixed", "divergence", "entropy")


@dataclass(frozen=True)
class Kinds:
    """What groups must have in common to be computed together: `StepKinds` of kernels/step/contract.ts."""

    anchor: int
    pair: tuple[int, int]
    weights: str
    mask: str
    mask_stream: int
    temperature: str
    details: bool


@dataclass(frozen=True)
class Range:
    """Of a number, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


_ANY = Range("a finite number", math.isfinite)
_FRACTION = Range("a number in 0..1", lambda v: 0 <= v <= 1)
_AT_LEAST_0 = Range("a number of at least 0", lambda v: 0 <= v < math.inf)
_ABOVE_0 = Range("a number above 0", lambda v: 0 < v < math.inf)
_WHOLE = Range("a whole number of at least 0", lambda v: v >= 0 and float(v).is_integer())

NUMBERS: Mapping[str, tuple[float, Range]] = {
    "total": (1.0, _ANY),
    "positive_floor": (-math.inf, Range("a number of at most 0", lambda v: v <= 0)),
    "t0": (1.0, _ABOVE_0),
    "sigma": (math.inf, Range("a number above 0", lambda v: v > 0)),
    "t_min": (0.0, _AT_LEAST_0),
    "weight_floor": (0.0, _AT_LEAST_0),
    "alpha": (0.0, _FRACTION),
    "entropy_base": (0.8, Range("a number above 0 and at most 1", lambda v: 0 < v <= 1)),
    "theta": (0.0, _AT_LEAST_0),
}
"""Columns of a group's numbers with their defaults, in the order of STEP_NUMBERS of kernels/step/contract.ts."""

_CUT = {"top_k": (0.0, _WHOLE), "top_p": (1.0, _FRACTION), "temperature": (1.0, _AT_LEAST_0)}
_DRAW = {"top_k": (0.0, _WHOLE), "top_p": (1.0, _FRACTION), "min_p": (0.0, _FRACTION)}


@dataclass(frozen=True)
class Member:
    """One request of a group."""

    group: str
    stream: int
    streams: int
    lone: int
    probe: bool
    kinds: Kinds
    numbers: tuple[float, ...]
    """In the order of NUMBERS, then a weight a stream"""
    cut: tuple[float, float, float]
    """top_k, top_p, temperature"""
    draw: tuple[float, float, float]
    """top_k, top_p, min_p"""
    greedy: bool
    uniforms: tuple[float, ...]
    absent: tuple[tuple[int, int], ...]


PLAIN = Kinds(0, (0, 0), "fixed", "none", 0, "fixed", False)


def member_of(extra_args: Mapping[str, Any] | None) -> Member | None:
    """What a request says of its group; None of a request that belongs to none. Raises ValueError with a sentence."""
    text = (extra_args or {}).get("sda")
    if text is None:
        return None
    try:
        given = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"sda: the argument must be a JSON text ({error}).") from None
    if not isinstance(given, dict):
        raise ValueError("sda: the argument must be a JSON object.")
    if given.get("protocol") != PROTOCOL:
        raise ValueError(
            f"sda: this server has sda-vllm {VERSION}, which speaks protocol {PROTOCOL}, but the request is of protocol "
            f"{given.get('protocol')}: install the sda-vllm that came with the client."
        )
    return _Reader(given).member()


def groupless(extra_args: Mapping[str, Any] | None) -> bool:
    """Whether a request has nothing to do with this package: cheap, for the scheduler's every request."""
    return "sda" not in (extra_args or {})


class _Reader:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given

    def member(self) -> Member:
        streams = self.whole("streams", 1, MOST_STREAMS)
        group = self.given.get("group")
        if not isinstance(group, str) or not 0 < len(group) <= MOST_GROUP:
            raise ValueError(f"sda.group must be a text of 1 to {MOST_GROUP} characters, but is {group!r}.")
        probe = self.flag(self.given, "probe", "sda")
        if probe and streams != 1:
            raise ValueError(f"sda.streams of a probe must be 1, but is {streams}.")
        draw = self.part("draw")
        return Member(
            group=group,
            stream=self.whole("stream", 0, streams - 1),
            streams=streams,
            lone=self.whole("lone", 0, 2**31 - 1),
            probe=probe,
            kinds=PLAIN if probe else self.kinds(streams),
            numbers=self.numbers(streams),
            cut=self.ranged("cut", self.part("cut"), _CUT),
            draw=self.ranged("draw", {k: v for k, v in draw.items() if k != "greedy"}, _DRAW),
            greedy=self.flag(draw, "greedy", "sda.draw"),
            uniforms=self.uniforms(),
            absent=self.absent(),
        )

    def kinds(self, streams: int) -> Kinds:
        kinds = self.part("kinds")

        def place(name: str, value: Any) -> int:
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < streams:
                return value
            raise ValueError(f"sda.kinds.{name} must be a stream, 0 to {streams - 1}, but is {value!r}.")

        def one_of(name: str, names: Sequence[str]) -> str:
            value = kinds.get(name, names[0])
            if value in names:
                return value
            raise ValueError(f"sda.kinds.{name} must be one of {', '.join(names)}, but is {value!r}.")

        anchor = place("anchor", kinds.get("anchor", 0))
        pair = kinds.get("pair", [anchor, anchor])
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"sda.kinds.pair must be two streams, but is {pair!r}.")
        return Kinds(
            anchor,
            (place("pair", pair[0]), place("pair", pair[1])),
            one_of("weights", WEIGHTS),
            one_of("mask", MASKS),
            place("mask_stream", kinds.get("mask_stream", anchor)),
            one_of("temperature", TEMPERATURES),
            self.flag(kinds, "details", "sda.kinds"),
        )

    def numbers(self, streams: int) -> tuple[float, ...]:
        numbers = self.part("numbers")
        weights = numbers.get("weights", [0.0] * streams)
        if not isinstance(weights, list) or len(weights) != streams or not all(map(_finite, weights)):
            raise ValueError(f"sda.numbers.weights must be {streams} finite numbers, but is {weights!r}.")
        rest = {name: value for name, value in numbers.items() if name != "weights"}
        return (*self.ranged("numbers", rest, NUMBERS), *map(float, weights))

    def uniforms(self) -> tuple[float, ...]:
        values = self.given.get("uniforms", [])
        if isinstance(values, list) and all(_finite(v) and 0 <= v < 1 for v in values):
            return tuple(map(float, values))
        raise ValueError("sda.uniforms must be a list of numbers in 0..1, 1 excluded.")

    def absent(self) -> tuple[tuple[int, int], ...]:
        ranges = self.given.get("absent", [])
        ok = isinstance(ranges, list) and all(
            isinstance(r, list) and len(r) == 2 and all(isinstance(v, int) for v in r) and 0 <= r[0] <= r[1]
            for r in ranges
        )
        if not ok:
            raise ValueError("sda.absent must be a list of [first, last] ids.")
        return tuple((first, last) for first, last in ranges)

    def part(self, name: str) -> dict[str, Any]:
        value = self.given.get(name, {})
        if isinstance(value, dict):
            return value
        raise ValueError(f"sda.{name} must be an object, but is {value!r}.")

    def whole(self, name: str, least: int, most: int) -> int:
        value = self.given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise ValueError(f"sda.{name} must be a whole number in {least}..{most}, but is {value!r}.")

    @staticmethod
    def flag(part: Mapping[str, Any], name: str, where: str) -> bool:
        value = part.get(name, False)
        if isinstance(value, bool):
            return value
        raise ValueError(f"{where}.{name} must be true or false, but is {value!r}.")

    @staticmethod
    def ranged(where: str, part: Mapping[str, Any], ranges: Mapping[str, tuple[float, Range]]) -> tuple[float, ...]:
        unknown = next((name for name in part if name not in ranges), None)
        if unknown is not None:
            raise ValueError(f"sda.{where} has no {unknown!r}: it has {', '.join(ranges)}.")
        for name, (_, allowed) in ranges.items():
            value = part.get(name)
            if name in part and not (_number(value) and allowed.holds(value)):
                raise ValueError(f"sda.{where}.{name} must be {allowed.words}, but is {value!r}.")
        return tuple(float(part.get(name, default)) for name, (default, _) in ranges.items())


def _number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return not math.isnan(value) if isinstance(value, float) else isinstance(value, int) and abs(value) < 2**63


def _finite(value: Any) -> bool:
    return _number(value) and math.isfinite(value)
