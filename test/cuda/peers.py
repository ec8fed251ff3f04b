"""Times what a user of PyTorch would run instead, on the same card and at the same sizes as test/cuda/decode-step.cu.

    python3 test/cuda/peers.py --json peers.json [--seconds 150] [--only REGEX]
    python3 test/cuda/peers.py --json peers.json --device cpu --tiny     # runs every path at tiny sizes, without CUDA graphs

A decoding step is both streams' forward passes in bf16 at 300 past positions, eqs 4-8 of the method, top-p by a sort
and the draw. Weights are random: only their sizes matter. Three ways:

    transformers      two separate forward calls, a DynamicCache each, as the method's authors do
    graph             one batched forward with a static cache; the whole step is one CUDA graph of eager operations
    compiled, graph   the same; torch.compile makes the layer and the arithmetic of eqs 4-8

Each result is in the JSON as soon as it is there; what this card did already is not measured again. Exit code: 0, 1 if
an item failed, or 124 if the time ran out first.
"""

import argparse
import contextlib
import dataclasses
import gc
import json
import math
import os
import re
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F

PAST, CAPACITY = 300, 512
STRENGTH, T0, SIGMA, T_MIN, TOP_P = 0.4, 0.6, 0.01, 0.2, 0.95


@dataclasses.dataclass(frozen=True)
class Sizes:
    name: str
    layers: int
    heads: int
    kv_heads: int
    head: int
    hidden: int
    inner: int
    vocab: int
    tied: bool
    bias: bool

    @property
    def projected(self):
        return (self.heads + 2 * self.kv_heads) * self.head

    def bytes(self, rows):
        """What a step must read: each weight of a product once for all rows, and the cache."""
        layer = self.hidden * (self.projected + self.heads * self.head + 3 * self.inner)
        cache = rows * 2 * self.kv_heads * self.head * (PAST + 1)
        return 2 * (self.layers * (layer + cache) + self.vocab * self.hidden)


MODELS = [
    Sizes("Qwen2.5-1.5B", 28, 12, 2, 128, 1536, 8960, 151936, tied=True, bias=True),
    Sizes("Llama-2-7B", 32, 32, 32, 128, 4096, 11008, 32000, tied=False, bias=False),
]
TINY = [
    Sizes("Qwen2.5-1.5B", 2, 4, 2, 16, 64, 96, 301, tied=True, bias=True),
    Sizes("Llama-2-7B", 2, 4, 4, 16, 64, 96, 199, tied=False, bias=False),
]


# ---- the step: eqs 4-8, top-p and the draw


def steer(logits):
    """The distribution to draw from: logits is [2, B, V], the base stream first."""
    base, instructed = F.log_softmax(logits.float(), dim=-1)
    steered = instructed + STRENGTH * (instructed - base)
    p1, p2 = base.exp(), instructed.exp()
    mean = torch.logaddexp(base, instructed) - math.log(2)
    js = 0.5 * (p1 * (base - mean) + p2 * (instructed - mean)).sum(-1, keepdim=True)
    temperature = (T0 * torch.exp2(-js.clamp(0, math.log(2)) / SIGMA)).clamp(min=T_MIN)
    return F.softmax(steered / temperature, dim=-1)


def draw(probs):
    """Top-p by a sort. The most likely of p / Exp(1) is a draw from p, without a wait for the host."""
    ordered, ids = probs.sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= TOP_P, 0)
    best = (kept / torch.empty_like(kept).exponential_()).argmax(-1, keepdim=True)
    return ids.gather(-1, best).squeeze(-1)


# ---- one batched forward with a static cache


def layer(x, place, cos, sin, keys, values, norm1, norm2, qkv, bias, o, gate_up, down, heads, kv_heads):
    """One new token a row: x is [rows, hidden]. Attention reads just the positions in use, which suits the peer best."""
    rows, head = x.shape[0], keys.shape[-1]
    projected = F.linear(F.rms_norm(x, (x.shape[-1],), norm1, 1e-6), qkv, bias)
    projected = projected.view(rows, heads + 2 * kv_heads, 1, head)
    turned, value = projected[:, : heads + kv_heads], projected[:, heads + kv_heads :]
    low, high = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-high, low), dim=-1) * sin
    keys.index_copy_(2, place, turned[:, heads:])
    values.index_copy_(2, place, value)
    seen = F.scaled_dot_product_attention(
        turned[:, :heads], keys[:, :, : PAST + 1], values[:, :, : PAST + 1], enable_gqa=heads != kv_heads
    )
    x = x + F.linear(seen.reshape(rows, heads * head), o)
    gate, up = F.linear(F.rms_norm(x, (x.shape[-1],), norm2, 1e-6), gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, down)


def some(shape, device):
    return torch.randn(shape, device=device, dtype=torch.bfloat16)


class Decoder:
    def __init__(self, sizes, device):
        def matrix(*shape):
            return some(shape, device).mul_(0.02)

        s = self.sizes = sizes
        self.table = matrix(s.vocab, s.hidden)
        self.head = self.table if s.tied else matrix(s.vocab, s.hidden)
        self.norm = 1 + matrix(s.hidden)
        self.layers = [
            (
                1 + matrix(s.hidden),
                1 + matrix(s.hidden),
                matrix(s.projected, s.hidden),
                matrix(s.projected) if s.bias else None,
                matrix(s.hidden, s.heads * s.head),
                matrix(2 * s.inner, s.hidden),
                matrix(s.hidden, s.inner),
            )
            for _ in range(s.layers)
        ]
        angle = torch.arange(CAPACITY, device=device)[:, None] * 1e4 ** (
            -torch.arange(0, s.head, 2, device=device) / s.head
        )
        angle = torch.cat((angle, angle), dim=-1)
        self.cos, self.sin = angle.cos().bfloat16(), angle.sin().bfloat16()

    def cache(self, rows):
        s = self.sizes
        shape = (rows, s.kv_heads, CAPACITY, s.head)
        return [(some(shape, self.table.device), some(shape, self.table.device)) for _ in range(s.layers)]

    def forward(self, ids, place, caches, layer):
        x = F.embedding(ids, self.table)
        cos, sin = self.cos[place], self.sin[place]
        for weights, (keys, values) in zip(self.layers, caches):
            x = layer(x, place, cos, sin, keys, values, *weights, self.sizes.heads, self.sizes.kv_heads)
        return F.linear(F.rms_norm(x, (x.shape[-1],), self.norm, 1e-6), self.head)


def batched_step(decoder, rows, compiled):
    """A function without arguments that decodes one token a query, each from the one before."""
    device = decoder.table.device
    tokens = torch.randint(decoder.sizes.vocab, (rows // 2,), device=device)
    place = torch.tensor([PAST], device=device)
    caches = decoder.cache(rows)
    a_layer, distribution = layer, steer
    if compiled:
        torch._dynamo.reset()  # so that no shape of before counts towards its limit
        a_layer, distribution = torch.compile(layer, dynamic=False), torch.compile(steer, dynamic=False)

    def step():
        logits = decoder.forward(tokens.repeat(2), place, caches, a_layer)
        tokens.copy_(draw(distribution(logits.view(2, rows // 2, -1))))

    return step, tokens


# ---- two forward calls a step, as the authors do


def authors_model(sizes, device):
    import transformers

    shared = dict(
        vocab_size=sizes.vocab,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=sizes.tied,
        rms_norm_eps=1e-6,
    )
    config = (transformers.Qwen2Config if sizes.bias else transformers.LlamaConfig)(**shared)
    config.architectures = None
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    return model.eval()


def authors_step(model, sizes):
    """A step, and what puts both caches back to PAST positions: they grow by one a step."""
    from transformers import DynamicCache

    device = next(model.parameters()).device
    shape = (1, sizes.kv_heads, PAST, sizes.head)
    token = torch.randint(sizes.vocab, (1,), device=device)
    caches = []

    def begin():
        caches.clear()
        for _ in range(2):
            cache = DynamicCache(config=model.config)
            for i in range(sizes.layers):
                cache.update(some(shape, device), some(shape, device), i)
            caches.append(cache)

    def step():
        logits = [model(token[None], past_key_values=cache, use_cache=True).logits[:, -1] for cache in caches]
        token.copy_(draw(steer(torch.stack(logits))))

    begin()
    return step, token, begin


# ---- timing


class Clock:
    """Events on the device, or the host's clock where there is none."""

    def __init__(self, device):
        self.cuda = device == "cuda"

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start, end):
        """Microseconds."""
        if not self.cuda:
            return (end - start) * 1e6
        end.synchronize()
        return start.elapsed_time(end) * 1e3

    def group(self, run, count):
        """Microseconds a run, of `count` back to back."""
        self.synchronize()
        start = self.mark()
        for _ in range(count):
            run()
        return self.between(start, self.mark()) / count


def in_graph(run):
    """`run` as one CUDA graph, after a warm-up (compilation, libraries' handles) on a side stream as capture asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


class Bench:
    def __init__(self, args):
        self.args, self.device, self.clock = args, args.device, Clock(args.device)
        self.started = time.monotonic()
        self.failed = self.late = False
        self.bandwidth = None
        self.found = {"items": []}
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(args.json) as file:
                self.found = json.load(file)
        self.found["versions"] = versions()
        self.card = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        # what failed, and what another card did, is measured again
        self.found["items"] = [
            item for item in self.found["items"] if "error" not in item and item["card"] == self.card
        ]
        for item in self.found["items"]:
            if item["name"] == "copy":
                self.bandwidth = item["gb_s"]

    def due(self, *names):
        """Which of these are still to be measured: none once the time is up."""
        done = {item["name"] for item in self.found["items"]}
        wanted = [name for name in names if name not in done and re.search(self.args.only, name)]
        if wanted and time.monotonic() - self.started > self.args.seconds:
            self.late = True
            return []
        return wanted

    def item(self, name, measure, **about):
        """Runs `measure`, which gives a dict, and keeps it or the error."""
        if not self.due(name):
            return
        began = time.monotonic()
        entry = {"name": name, **about, "card": self.card}
        try:
            entry.update(measure())
            bytes_ = entry.get("bytes")
            if bytes_ and self.bandwidth:
                entry["limit_us"] = round(bytes_ / self.bandwidth / 1e3, 3)
            text = f"{entry['us']:11.1f} us" + (f"  limit {entry['limit_us']:9.1f} us" if "limit_us" in entry else "")
        except Exception as error:  # one item must not end the others
            self.failed = True
            entry["error"] = f"{type(error).__name__}: {error}"[:500]
            text = entry["error"]
        entry["seconds"] = round(time.monotonic() - began, 1)
        print(f"{name:62s} {text}  ({entry['seconds']} s)", flush=True)
        self.found["items"].append(entry)
        self.save()

    def save(self):
        with open(self.args.json + ".new", "w") as file:
            json.dump(self.found, file, indent=1)
        os.replace(self.args.json + ".new", self.args.json)

    def back_to_back(self, run, begin=lambda: None, most=400):
        """Median of groups of about 60 ms each."""
        run(), run()
        once = self.clock.group(run, 2)
        count = 2 if self.args.tiny else max(3, min(most, round(60e3 / once)))
        groups = []
        for i in range(8):
            begin()
            us = self.clock.group(run, count)
            if i:  # the first brings the clocks up
                groups.append(us)
        return summary(groups)

    def cold(self, run):
        """Median of runs with nothing of theirs in the caches, as test/cuda/check.h times."""
        swept = torch.zeros((1 if self.args.tiny else 256) << 18, device=self.device)
        times = []
        for i in range(5 if self.args.tiny else 120):
            swept.sum()
            start = self.clock.mark()
            run()
            end = self.clock.mark()
            us = self.clock.between(start, end)
            if i >= (2 if self.args.tiny else 20):
                times.append(us)
        return summary(times)

    def graphed(self, run):
        return in_graph(run) if self.device == "cuda" else run


def summary(times):
    return {
        "us": round(statistics.median(times), 2),
        "least_us": round(min(times), 2),
        "most_us": round(max(times), 2),
    }


def versions():
    import importlib.metadata

    found = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda}
    for name in ("transformers", "triton"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if torch.cuda.is_available():
        found["card"] = torch.cuda.get_device_name()
    return found


def sound(tokens, vocab):
    if not all(0 <= token < vocab for token in tokens.tolist()):
        raise RuntimeError(f"drew the tokens {tokens.tolist()} of {vocab}")


# ---- the items


def copy(bench):
    def measure():
        count = (1 if bench.args.tiny else 512) << 20
        source = torch.randint(255, (count,), device=bench.device, dtype=torch.uint8)
        target = torch.empty_like(source)
        times = bench.back_to_back(lambda: target.copy_(source))
        bench.bandwidth = 2 * count / times["us"] / 1e3
        return {**times, "bytes": 2 * count, "gb_s": round(bench.bandwidth, 1)}

    bench.item("copy", measure)


def step_name(sizes, rows, way):
    return f"decode step, {sizes.name}, bf16, {rows} rows, {way}"


def batched(bench, sizes, rows):
    ways = {"graph": False, "compiled, graph": True}
    names = {step_name(sizes, rows, way): way for way in ways}
    if not bench.due(*names):
        return
    decoder = Decoder(sizes, bench.device)

    def measure(way):
        step, tokens = batched_step(decoder, rows, ways[way])
        times = bench.back_to_back(bench.graphed(step))
        sound(tokens, sizes.vocab)
        return {**times, "bytes": sizes.bytes(rows)}

    for name, way in names.items():
        bench.item(name, lambda: measure(way), model=sizes.name, rows=rows, way=way)
        release(bench)


def authors(bench, sizes):
    name = step_name(sizes, 2, "transformers")

    def measure():
        step, token, begin = authors_step(authors_model(sizes, bench.device), sizes)
        times = bench.back_to_back(step, begin, most=12)
        sound(token, sizes.vocab)
        return {**times, "bytes": sizes.bytes(2)}

    bench.item(name, measure, model=sizes.name, rows=2, way="transformers")
    release(bench)


def step_alone(bench, vocab):
    for queries in (1, 8):
        logits = torch.randn(2, queries, vocab, device=bench.device) * 3
        probs = steer(logits)
        tokens = torch.zeros(queries, dtype=torch.int64, device=bench.device)
        compiled = torch.compile(steer, dynamic=False)
        works = {
            ("step and sample", "graph"): lambda: tokens.copy_(draw(steer(logits))),
            ("step and sample", "eager"): lambda: tokens.copy_(draw(steer(logits))),
            ("step and sample", "compiled, graph"): lambda: tokens.copy_(draw(compiled(logits))),
            ("sample, top-p 0.95", "graph"): lambda: tokens.copy_(draw(probs)),
            ("sample, top-p 0.95", "eager"): lambda: tokens.copy_(draw(probs)),
        }
        for (what, way), work in works.items():

            def measure():
                torch._dynamo.reset()
                times = bench.cold(work if way == "eager" else bench.graphed(work))
                sound(tokens, vocab)
                return {**times, "bytes": (12 if what == "step and sample" else 4) * queries * vocab}

            name = f"{what}, {queries} queries, V = {vocab}, {way}"
            bench.item(name, measure, what=what, queries=queries, vocab=vocab, way=way)


def release(bench):
    gc.collect()
    if bench.device == "cuda":
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", default="peers.json", help="where results go, and are taken from")
    parser.add_argument("--seconds", type=float, default=150, help="begin no item after this")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--only", default="", help="a regular expression that names must match")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no GPU that PyTorch can use: give --device cpu --tiny to run without one.")
    torch.manual_seed(1)
    bench = Bench(args)
    print(", ".join(f"{name} {value}" for name, value in bench.found["versions"].items()), flush=True)
    small, large = TINY if args.tiny else MODELS
    with torch.no_grad():
        copy(bench)
        batched(bench, small, 2)
        authors(bench, small)
        step_alone(bench, small.vocab)
        batched(bench, large, 2)
        authors(bench, large)
        for rows in (8, 32):
            batched(bench, small, rows)
        for rows in (8, 32):
            batched(bench, large, rows)
    bench.save()
    if bench.late:
        print(f"The {args.seconds:g} seconds are up: run it again with the same --json for the rest.")
    return 1 if bench.failed else 124 if bench.late else 0


if __name__ == "__main__":
    sys.exit(main())
