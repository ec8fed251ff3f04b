"""The logits processor by itself, under both of vLLM's interfaces, without a model. Prints what is wrong, as JSON."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import sda_vllm.processor as processor
import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

V = 300
MARK, LONE = 2.0**126, 2.0**125
processor.check_server = lambda config: None  # there is no server
CONFIG = SimpleNamespace(
    parallel_config=SimpleNamespace(tensor_parallel_size=2, pipeline_parallel_size=3),
    scheduler_config=SimpleNamespace(max_num_seqs=5),
)
wrong: list[str] = []


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        wrong.append(f"{what}: {found!r} instead of {expected!r}")


def params(group: str, stream: int, **more) -> SamplingParams:
    argument = {
        "protocol": 1,
        "group": group,
        "stream": stream,
        "streams": 2,
        "lone": 9,
        "kinds": {"anchor": 1, "pair": [0, 1], "temperature": "divergence"},
        "numbers": {"weights": [-0.4, 0], "t0": 0.6, "sigma": 0.01, "t_min": 0.2},
        "draw": {"top_p": 0.95},
        "uniforms": [0.1, 0.5, 0.9, 0.3],
        **more,
    }
    return SamplingParams(
        max_tokens=4,
        temperature=0,
        logprobs=12,
        stop_token_ids=[9],
        extra_args={"sda": json.dumps(argument)},
    )


def update(added=(), removed=(), moved=()) -> BatchUpdate:
    return BatchUpdate(batch_size=8, removed=list(removed), added=list(added), moved=list(moved))


def told(row: torch.Tensor) -> tuple[int, float, list[float]]:
    """The marked token, its mark, and what its carriers say."""
    finite = [(float(x), i) for i, x in enumerate(row) if x > -torch.inf]
    mark, token = max(finite)
    return token, mark, [x for x, i in sorted(finite, key=lambda pair: pair[1]) if i != token]


torch.manual_seed(3)
LOGITS = torch.randn(4, V) * 3


def by_v1() -> torch.Tensor:
    """Rows 0..3: base, another's, instructed, a stream whose partner is not there."""
    one = processor.SdaLogitsProcessor(CONFIG, torch.device("cpu"), False)
    outputs = [[7], [7], [7]]
    one.update_state(update(added=[(3, params("a", 0), [1], outputs[0]), (2, params("a", 1), [1], outputs[1])]))
    one.update_state(update(added=[(1, params("b", 0), [1], outputs[2])]))
    swap = [(3, 0, MoveDirectionality.UNIDIRECTIONAL), (1, 3, MoveDirectionality.UNIDIRECTIONAL)]
    one.update_state(update(moved=swap))
    found = one.apply(LOGITS.clone())
    one.update_state(update(removed=[0, 2, 3]))
    expect("rows that have left", torch.equal(one.apply(LOGITS.clone()), LOGITS), True)
    return found


def by_v2() -> torch.Tensor:
    lengths = SimpleNamespace(np=np.array([10, 20, 30, 40]))
    states = SimpleNamespace(prefill_len=lengths, prompt_len=lengths)
    one = processor.SdaLogitsProcessor(CONFIG, states)
    for slot, given in [(2, params("a", 0)), (0, params("a", 1)), (3, params("b", 0)), (1, SamplingParams())]:
        expect(f"slot {slot} is taken", one.add_request(slot, given), slot != 1)
    ctx = SimpleNamespace(
        idx_mapping_np=np.array([2, 1, 0, 3]), seq_lens_upper_bound_np=np.array([31, 25, 11, 41])
    )
    found = one.apply(LOGITS.clone(), ctx)
    unfinished = SimpleNamespace(
        idx_mapping_np=np.array([2, 1, 0, 3]), seq_lens_upper_bound_np=np.array([29, 25, 9, 39])
    )
    expect("rows of unfinished prompts", torch.equal(one.apply(LOGITS.clone(), unfinished), LOGITS), True)
    one.add_request(2, SamplingParams())
    one.add_request(0, SamplingParams())
    one.add_request(3, SamplingParams())
    expect("slots with others", torch.equal(one.apply(LOGITS.clone(), ctx), LOGITS), True)
    return found


v1, v2 = by_v1(), by_v2()
expect("both interfaces", torch.equal(v1, v2), True)
expect("the row of another", torch.equal(v1[1], LOGITS[1]), True)
base, instructed, lone = told(v1[0]), told(v1[2]), told(v1[3])
expect("the token of both", base[:2], instructed[:2])
expect("its mark", base[1], MARK)
expect("a lone row", (lone[0], lone[1], lone[2]), (9, LONE, []))

# what the carriers say: JS, T, the unusable stream and token, log P', log P of each stream; dealt out by turns
logs = torch.log_softmax(LOGITS[[0, 2]].double(), 1)
gap = (logs[1] - logs[0]).double()
mean = torch.log((logs[0].exp() + logs[1].exp()) / 2)
js = float(((logs[0].exp() * (logs[0] - mean)).sum() + (logs[1].exp() * (logs[1] - mean)).sum()) / 2)
temperature = max(0.2, 0.6 * 0.5 ** (js / 0.01))
score = torch.log_softmax((logs[1] + 0.4 * gap) / temperature, 0)
token = base[0]
decoded = {}
for stream, (_, _, values) in enumerate([base, instructed]):
    for slot, value in enumerate(values):
        decoded[slot * 2 + stream] = -value / 2.0**90 if value >= 2.0**31 else value
expected = [js, temperature, -1, -1, float(score[token]), float(logs[0, token]), float(logs[1, token])]
for index, value in enumerate(expected):
    if abs(decoded[index] - value) > 1e-4 * max(1, abs(value)):
        wrong.append(f"number {index}: {decoded[index]} instead of {value}")

probe = SamplingParams(
    max_tokens=1,
    temperature=0,
    logprobs=6,
    extra_args={
        "sda": json.dumps({"protocol": 1, "group": "p", "stream": 0, "streams": 1, "lone": 0, "probe": True})
    },
)
one = processor.SdaLogitsProcessor(CONFIG, torch.device("cpu"), False)
one.update_state(update(added=[(0, probe, [1], [])]))
expect("a probe", told(one.apply(LOGITS[:1].clone())[0]), (0, MARK, [1.0, float(V), 2.0, 3.0, 5.0]))


def refusal(changed: SamplingParams) -> str:
    try:
        processor.SdaLogitsProcessor.validate_params(changed)
    except ValueError as error:
        return str(error)
    return ""


expect("a good request", refusal(params("a", 0)), "")
expect("a plain request", refusal(SamplingParams(temperature=1.5)), "")
for name, value in {
    "temperature": 0.5,
    "n": 2,
    "presence_penalty": 1.0,
    "repetition_penalty": 1.1,
    "min_tokens": 2,
    "logprobs": 2,
    "stop_token_ids": [4],
    "max_tokens": 5,
}.items():
    changed = params("a", 0)
    setattr(changed, name, value)
    if "sda" not in refusal(changed):
        wrong.append(f"{name} = {value} is taken")

print(json.dumps(wrong))
