"""Runs sda_vllm's step and draw on cases from stdin; what it says of each goes to stdout. See step.test.ts.

A case is {"streams": [[logit as text]], "sda": the argument of a request as text, "at": index of the token}.
"""

import json
import sys

import torch
from sda_vllm.arguments import member_of
from sda_vllm.draw import draw
from sda_vllm.step import distribution


def told(values: torch.Tensor) -> list[str]:
    return [repr(value) for value in values.double().flatten().tolist()]


def run(case: dict) -> dict:
    member = member_of({"sda": case["sda"]})
    logits = torch.tensor([[[float(x) for x in line] for line in case["streams"]]], dtype=torch.float32)
    found = distribution(
        logits, torch.tensor([member.numbers]), torch.tensor([member.cut]), member.kinds
    )
    u = 0.0 if member.greedy else member.uniforms[case["at"]]
    ids = draw(found.log_p, torch.tensor([member.draw]), torch.tensor([member.greedy]), torch.tensor([u]))
    return {
        "id": int(ids[0]),
        "log_p": told(found.log_p),
        "stats": told(found.stats),
        "details": told(found.details),
        "streams": told(found.streams[0, :, int(ids[0])]),
    }


print(json.dumps([run(case) for case in json.load(sys.stdin)]))
