"""The scheduler classes of sda-vllm alone, without a model: random groups and plain requests, small budgets and caches,
one step or several in flight. Holds, of each step, that the requests of a group draw a token together or not at all, and
of each run, that every request ends with all its tokens, each of them once.

    python simulate.py [--runs N] [--stand-in]

Takes vLLM's own scheduler where it is installed, else (or with --stand-in) a stand-in of it: see stand_in.py.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import zlib
from dataclasses import dataclass, field

parser = argparse.ArgumentParser()
parser.add_argument("--runs", type=int, default=40)
parser.add_argument("--stand-in", action="store_true")
parser.add_argument("--config", help="folder with a config.json, for vLLM's own scheduler")
options = parser.parse_args()

if options.stand_in:
    import stand_in

    stand_in.install()
    backend = stand_in.Backend()
else:
    from real_scheduler import Backend

    backend = Backend(options.config)

from sda_vllm.scheduler import SdaAsyncScheduler, SdaScheduler  # noqa: E402

BLOCK = 16


def token_of(group: str, index: int) -> int:
    """The token that a group draws at a place of its answer."""
    return zlib.crc32(f"{group} {index}".encode()) % 65536 + 1000


@dataclass
class Asked:
    """A request that is to come."""

    at: int
    name: str
    group: str
    prompt: list[int]
    most: int
    argument: dict | None


@dataclass
class World:
    """What comes of a run."""

    lone: int = 0
    steps: int = 0
    preemptions: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)


def arrivals(rng: random.Random, streams: list[int]) -> list[Asked]:
    shared = [rng.randrange(900) for _ in range(40)]
    found = []

    def prompt(most: int) -> list[int]:
        return shared[: rng.randrange(0, 40)] + [rng.randrange(900) for _ in range(rng.randrange(2, most))]

    for index, count in enumerate(streams):
        most, at, group = rng.randrange(3, 50), rng.randrange(0, 60), f"g{index}"
        for stream in range(count):
            argument = {"protocol": 1, "group": group, "stream": stream, "streams": count, "lone": 0}
            late = rng.choice([0, 0, 0, 3, 15])
            found.append(Asked(at + late, f"{group}/{stream}", group, prompt(90), most, argument))
    for index in range(8):
        found.append(Asked(rng.randrange(0, 60), f"p{index}", f"p{index}", prompt(150), rng.randrange(3, 50), None))
    return sorted(found, key=lambda asked: asked.at)


def run(cls, seed: int, depth: int, is_async: bool) -> World:
    rng = random.Random(seed)
    streams = [rng.choice([1, 2, 2, 2, 3, 4]) for _ in range(12)]
    blocks = rng.randrange(18, 80)
    budget = rng.choice([24, 64, 256])
    scheduler = backend.scheduler(cls, blocks, budget, rng.choice([6, 32]), is_async)
    coming = arrivals(rng, streams)
    world, requests, flight, left = World(), {}, [], set()
    told: dict[str, list[int]] = {}
    ended: dict[str, str] = {}
    while coming or scheduler.has_unfinished_requests() or flight:
        while coming and coming[0].at <= world.steps:
            asked = coming.pop(0)
            argument = None if asked.argument is None else {"sda": json.dumps(asked.argument)}
            requests[asked.name] = backend.request(asked.name, asked.prompt, asked.most, argument)
            scheduler.add_request(requests[asked.name])
        if rng.random() < 0.02:  # a client leaves with all its streams
            group = f"g{rng.randrange(len(streams))}"
            names = [name for name in requests if name.startswith(f"{group}/")]
            if len(names) == streams[int(group[1:])]:
                left.add(group)
                backend.abort(scheduler, names)
        output = scheduler.schedule()
        world.steps += 1
        if world.steps > 20000:
            world.problems.append(f"seed {seed}: nothing moves any more")
            return world
        drawn = {}
        for name in output.num_scheduled_tokens:
            request = requests[name]
            if not request.is_prefill_chunk:
                drawn[name] = request.num_computed_tokens - request.num_prompt_tokens
        for name, index in drawn.items():
            group, _, stream = name.partition("/")
            if stream and any(drawn.get(f"{group}/{s}") != index for s in range(streams[int(group[1:])])):
                world.lone += 1
        tokens = {name: token_of(name.partition("/")[0], index) for name, index in drawn.items()}
        flight.append((output, tokens))
        while flight and (len(flight) >= depth or not output.num_scheduled_tokens):
            for name, ids, reason in backend.update(scheduler, *flight.pop(0)):
                told.setdefault(name, []).extend(ids)
                if reason:
                    ended[name] = reason
    for name, request in requests.items():
        group = name.partition("/")[0]
        if group in left:
            continue
        expected = [token_of(group, index) for index in range(request.max_tokens)]
        of_group = [other for key, other in requests.items() if key.partition("/")[0] == group]
        needed = sum(-(-(other.num_prompt_tokens + other.max_tokens) // BLOCK) for other in of_group)
        if ended.get(name, "").startswith("sda:") and needed >= blocks:
            world.refused += 1  # vLLM keeps one block for itself
        elif ended.get(name, "").startswith("sda:"):
            world.problems.append(f"seed {seed}: {name}, of {needed} of {blocks} blocks, was refused: {ended[name]}")
        elif told.get(name) != expected:
            world.problems.append(f"seed {seed}: {name} has {len(told.get(name, []))} of {len(expected)} tokens")
    world.preemptions = sum(request.num_preemptions for request in requests.values())
    if getattr(scheduler, "_groups", None):
        world.problems.append(f"seed {seed}: groups are kept that have ended")
    return world


def main() -> None:
    forms = [("one step", SdaScheduler, 1, False), ("two steps in flight", SdaScheduler, 2, False)]
    forms += [("asynchronous", SdaAsyncScheduler, 2, True)]
    if backend.stock is not None:
        forms.append(("without groups", backend.stock, 1, False))
    report = []
    for name, cls, depth, is_async in forms:
        worlds = [run(cls, seed, depth, is_async) for seed in range(options.runs)]
        report.append(
            {
                "form": name,
                "lone": sum(world.lone for world in worlds),
                "steps": sum(world.steps for world in worlds),
                "refused": sum(world.refused for world in worlds),
                "preemptions": sum(world.preemptions for world in worlds),
                "problems": [problem for world in worlds for problem in world.problems][:10],
            }
        )
    json.dump(report, sys.stdout)


main()
