"""The groups that a scheduler has heard of: which requests they have, and what is wrong with them. No vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WAIT_FOR_PARTNERS = 30.0
"""Seconds that the first request of a group waits for the others; the client sends them at once"""


@dataclass
class Group:
    """Requests that draw their tokens together."""

    name: str
    streams: int
    since: float
    """When the first of them came, seconds of a monotonic clock"""
    members: dict[int, Any] = field(default_factory=dict)
    """By stream"""

    def alive(self) -> list[Any]:
        """Those that have not finished, in the order of their streams."""
        return [request for _, request in sorted(self.members.items()) if not request.is_finished()]

    def problem(self, now: float, most: int) -> str | None:
        """Why it can never draw a token, as a sentence for the client; None where it can, or may yet.

        most: requests that run at once.
        """
        alive = self.alive()
        if len(alive) < len(self.members):
            return "another stream of this answer has ended"
        if self.streams > most:
            return f"an answer of {self.streams} streams needs {self.streams} places, but --max-num-seqs is {most}"
        if any(request.num_prompt_tokens < 2 for request in alive):
            return "a prompt of one token cannot wait for the other streams: give it two at least"
        if len({request.max_tokens for request in alive}) > 1:
            return "the streams of an answer must have the same max_tokens"
        if len(self.members) < self.streams and now - self.since > WAIT_FOR_PARTNERS:
            missing = self.streams - len(self.members)
            return f"{missing} of {self.streams} streams of this answer did not come within {WAIT_FOR_PARTNERS:.0f} s"
        return None


class Groups:
    """All groups with requests that have not finished, in the order in which they came."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self):
        return iter(list(self._groups.values()))

    def add(self, member: Any, request: Any, now: float) -> str | None:
        """Takes a request in; or says why not, as a sentence."""
        group = self._groups.setdefault(member.group, Group(member.group, member.streams, now))
        if group.streams != member.streams:
            return f"its group has {group.streams} streams, not {member.streams}"
        if member.stream in group.members:
            return f"its group has a stream {member.stream} already"
        group.members[member.stream] = request
        return None

    def forget_finished(self) -> None:
        for group in self:
            if not group.alive():
                del self._groups[group.name]
