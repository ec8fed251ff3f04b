"""Reads a JSON list of arguments `sda` from stdin; tells of each why it is refused, or null. See arguments.test.ts."""

import json
import sys

from sda_vllm.about import check_vllm
from sda_vllm.arguments import member_of


def told(argument: object) -> object:
    try:
        member_of({"sda": argument})
    except ValueError as error:
        return str(error)
    return None


def version(found: str) -> object:
    try:
        check_vllm(found)
    except RuntimeError as error:
        return str(error)
    return None


given = json.load(sys.stdin)
print(json.dumps({"arguments": list(map(told, given["arguments"])), "versions": list(map(version, given["versions"]))}))
