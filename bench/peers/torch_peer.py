"""SDA decoding in PyTorch and transformers, as a worker of run.mjs.

Reads one JSON object a line on standard input and answers with one line that starts with "@".
"""

import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402

import sda_step  # noqa: E402
from tuned_llama import TunedLlama  # noqa: E402

BLOCK = 64


class Clock:
    """Milliseconds until the first token, and from there to the end."""

    def __init__(self):
        self.start = time.perf_counter()
        self.first = None
        self.ids = []

    def token(self, token):
        self.ids.append(token)
        if self.first is None:
            self.first = time.perf_counter()
        return token

    def report(self):
        end = time.perf_counter()
        return {
            "prefill_ms": (self.first - self.start) * 1e3,
            "decode_ms": (end - self.first) * 1e3,
            "ids": self.ids,
        }


class Peer:
    def __init__(self, directory, dtype):
        self.bits = 8 if dtype == "int8" else 16  # or more
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.bfloat16 if dtype == "int8" else getattr(torch, dtype), local_files_only=True
        ).eval()
        self.tuned = None
        self.compiled = None

    def authors(self, request):
        """Two cached generate calls of one token a step, then the step, then a sort of the vocabulary."""
        generator = torch.Generator().manual_seed(request["seed"])
        prompts = [request["base"], request["instructed"]]
        inputs = [torch.tensor([ids]) for ids in prompts]
        caches = [transformers.DynamicCache(config=self.model.config) for _ in prompts]
        clock = Clock()
        for _ in range(request["tokens"]):
            logits = []
            for stream in range(2):
                out = self.model.generate(
                    inputs[stream],
                    attention_mask=torch.ones_like(inputs[stream]),
                    past_key_values=caches[stream],
                    max_new_tokens=1,
                    do_sample=False,
                    output_logits=True,
                    return_dict_in_generate=True,
                    pad_token_id=0,
                )
                caches[stream] = out.past_key_values
                logits.append(out.logits[0][0])
            log_p = sda_step.distribution(*logits)
            token = clock.token(sda_step.draw_by_sorting(log_p, request["greedy"], generator))
            inputs = [torch.cat([ids, torch.tensor([[token]])], 1) for ids in inputs]
        return clock.report()

    def batched(self, request):
        """One forward of transformers for both rows, padded on the left."""
        generator = torch.Generator().manual_seed(request["seed"])
        prompts = [request["base"], request["instructed"]]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        cache = transformers.DynamicCache(config=self.model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        clock = Clock()
        for _ in range(request["tokens"]):
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            log_p = sda_step.distribution(logits[0], logits[1])
            token = clock.token(sda_step.draw_from_shortlist(log_p, request["greedy"], generator))
            ids = torch.full((2, 1), token)
            mask = torch.cat([mask, mask.new_ones((2, 1))], 1)
            positions = positions[:, -1:] + 1
        return clock.report()

    def hand_tuned(self, request, compiled=False):
        """One forward for both rows of a decoder that was written for this, see tuned_llama.py."""
        self.tuned = self.tuned or TunedLlama(self.model, self.bits)
        step = self.tuned.step
        if compiled:
            self.compiled = self.compiled or torch.compile(step, dynamic=False)
            step = self.compiled
        generator = torch.Generator().manual_seed(request["seed"])
        prompts = [request["base"], request["instructed"]]
        lengths = torch.tensor([len(p) for p in prompts])
        capacity = -(-(int(lengths.max()) + request["tokens"]) // BLOCK) * BLOCK
        cache = self.tuned.new_cache(2, capacity)
        clock = Clock()
        logits = [self.tuned.prefill(cache, row, ids) for row, ids in enumerate(prompts)]
        for index in range(request["tokens"]):
            log_p = sda_step.distribution(logits[0], logits[1])
            token = clock.token(sda_step.draw_from_shortlist(log_p, request["greedy"], generator))
            if index + 1 == request["tokens"]:
                break
            positions = lengths + index
            # a compiled step keeps its shapes: it attends to the whole cache, the mask hides the rest
            length = capacity if compiled else int(positions.max()) + 1
            logits = step(cache, torch.tensor([token]), positions, length)
        return clock.report()

    def compiled_tuned(self, request):
        return self.hand_tuned(request, compiled=True)

    def prefill(self, request):
        """One unshared row, with the logits of its last token; in 8 bits through the hand-tuned decoder."""
        if self.bits == 8:
            self.tuned = self.tuned or TunedLlama(self.model, self.bits)
            cache = self.tuned.new_cache(1, len(request["instructed"]))
            clock = Clock()
            clock.token(int(self.tuned.prefill(cache, 0, request["instructed"]).argmax()))
            return clock.report()
        ids = torch.tensor([request["instructed"]])
        clock = Clock()
        logits = self.model(input_ids=ids, use_cache=True, logits_to_keep=1).logits
        clock.token(int(logits[0, -1].argmax()))
        return clock.report()


def answer(value):
    sys.stdout.write("@" + json.dumps(value) + "\n")
    sys.stdout.flush()


def main():
    directory, dtype, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    transformers.logging.set_verbosity_error()
    peer = Peer(directory, dtype)
    loops = {
        name: getattr(peer, name.replace("-", "_"))
        for name in ("authors", "batched", "hand-tuned", "compiled-tuned", "prefill")
    }
    answer({"version": f"PyTorch {torch.__version__}, transformers {transformers.__version__}"})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with torch.inference_mode():
                answer(loops[request["loop"]](request))
        except Exception as error:  # the other loops go on
            answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


main()
