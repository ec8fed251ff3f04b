"""vLLM's own scheduler for simulate.py: no model, no device."""

from __future__ import annotations

import torch
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

BLOCK = 16


class Backend:
    stock = Scheduler

    def __init__(self, config: str) -> None:
        init_none_hash(sha256)
        self.hasher = get_request_block_hasher(BLOCK, sha256)
        args = EngineArgs(
            model=config,
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=512,
            enforce_eager=True,
            max_num_seqs=32,
            max_num_batched_tokens=512,
            block_size=BLOCK,
        )
        self.config = args.create_engine_config()

    def scheduler(self, cls, blocks: int, budget: int, places: int, is_async: bool):
        self.config.scheduler_config.async_scheduling = is_async
        self.config.scheduler_config.max_num_batched_tokens = budget
        self.config.scheduler_config.max_num_seqs = places
        self.config.cache_config.num_gpu_blocks = blocks
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=64, dtype=torch.float32)
        cache = KVCacheConfig(
            num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        manager = StructuredOutputManager(self.config)
        return cls(self.config, cache, manager, BLOCK, hash_block_size=BLOCK, log_stats=False)

    def request(self, name: str, prompt: list[int], most: int, extra_args: dict | None):
        params = SamplingParams(max_tokens=most, ignore_eos=True, extra_args=extra_args)
        return Request(name, prompt, params, None, block_hasher=self.hasher)

    def abort(self, scheduler, names: list[str]) -> None:
        scheduler.finish_requests(names, RequestStatus.FINISHED_ABORTED)

    def update(self, scheduler, output, tokens: dict[str, int]):
        names = list(output.num_scheduled_tokens)
        told = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=[[tokens[name]] if name in tokens else [] for name in names],
        )
        found = scheduler.update_from_output(output, told)
        for of_client in found.values():
            for one in of_client.outputs:
                yield one.request_id, one.new_token_ids, str(one.stop_reason or one.finish_reason or "")
