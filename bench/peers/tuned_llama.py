"""A Llama decoder for few rows, written for speed in plain PyTorch: the best batched loop to compare with.

Projections of one input are stacked, keys and values stand in a preallocated cache, grouped queries share their
keys without copies, and no module or mask code of a library runs in a step. With `bits=8` matrices are int8 with a scale
a row, met by PyTorch's own kernel for that.
"""

import torch
from torch.nn import functional as F


def per_row_int8(weight):
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight.float() / scale).round().to(torch.int8), scale[:, 0].to(torch.bfloat16)


def int8_linear(x, weight):
    return torch.ops.aten._weight_int8pack_mm(x.contiguous(), *weight)


class TunedLlama:
    def __init__(self, model, bits=16):
        """Takes the weights of a transformers LlamaForCausalLM without biases; for 8 bits it must be in bfloat16."""
        self.pack = per_row_int8 if bits == 8 else lambda weight: weight
        self.linear = int8_linear if bits == 8 else F.linear
        config = model.config
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.epsilon = config.rms_norm_eps
        self.embed = model.model.embed_tokens.weight
        self.dtype = self.embed.dtype
        self.head = self.pack(model.lm_head.weight)
        self.norm = model.model.norm.weight
        self.layers = []
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            self.layers.append(
                (
                    layer.input_layernorm.weight,
                    self.pack(torch.cat([p.weight for p in projections])),
                    self.pack(attention.o_proj.weight),
                    layer.post_attention_layernorm.weight,
                    self.pack(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])),
                    self.pack(mlp.down_proj.weight),
                )
            )
        theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta") or config.rope_theta
        self.frequencies = theta ** -(torch.arange(0, self.head_dim, 2).float() / self.head_dim)

    def new_cache(self, rows, capacity):
        shape = (len(self.layers), 2, rows, self.kv_heads, capacity, self.head_dim)
        return torch.zeros(shape, dtype=self.dtype)

    def prefill(self, cache, row, ids):
        """Runs one prompt into one row of the cache and returns the logits after it, [V]."""
        T = len(ids)
        x = self.embed[torch.tensor(ids)]
        cos, sin = self._angles(torch.arange(T))
        for index, layer in enumerate(self.layers):
            q, k, v = self._project(x, layer, cos, sin)  # [T, heads, D]
            cache[index, 0, row, :, :T] = k.transpose(0, 1)
            cache[index, 1, row, :, :T] = v.transpose(0, 1)
            mixed = F.scaled_dot_product_attention(
                *(t.transpose(0, 1)[None] for t in (q, k, v)), is_causal=True, enable_gqa=True
            )
            x = self._finish(x, mixed[0].transpose(0, 1).reshape(T, -1), layer)
        return self._logits(x[-1:])[0]

    def step(self, cache, token, positions, length):
        """One token into every row, each at its own position; attends to `length` slots. Returns [rows, V]."""
        rows = positions.shape[0]
        x = self.embed[token].expand(rows, -1)
        cos, sin = self._angles(positions)
        lines = torch.arange(rows)
        hidden = torch.arange(length)[None] > positions[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.dtype).masked_fill(hidden, float("-inf"))
        mask = mask[:, None, None]
        for index, layer in enumerate(self.layers):
            q, k, v = self._project(x, layer, cos, sin)  # [rows, heads, D]
            cache[index, 0][lines, :, positions] = k
            cache[index, 1][lines, :, positions] = v
            keys, values = cache[index, 0, :, :, :length], cache[index, 1, :, :, :length]
            grouped = q.view(rows, self.kv_heads, -1, self.head_dim)  # the queries of a group as lines
            mixed = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
            x = self._finish(x, mixed.reshape(rows, -1), layer)
        return self._logits(x)

    def _project(self, x, layer, cos, sin):
        h = F.rms_norm(x, x.shape[-1:], layer[0], self.epsilon)
        qkv = self.linear(h, layer[1]).view(x.shape[0], -1, self.head_dim)
        turned, v = qkv.split([self.heads + self.kv_heads, self.kv_heads], 1)
        low, high = turned.chunk(2, -1)
        turned = torch.cat([low * cos - high * sin, high * cos + low * sin], -1)
        q, k = turned.split([self.heads, self.kv_heads], 1)
        return q, k, v

    def _finish(self, x, mixed, layer):
        x = x + self.linear(mixed, layer[2])
        h = F.rms_norm(x, x.shape[-1:], layer[3], self.epsilon)
        gate, up = self.linear(h, layer[4]).chunk(2, -1)
        return x + self.linear(F.silu(gate) * up, layer[5])

    def _logits(self, x):
        return self.linear(F.rms_norm(x, x.shape[-1:], self.norm, self.epsilon), self.head)

    def _angles(self, positions):
        angles = positions[:, None].float() * self.frequencies
        return angles.cos()[:, None].to(self.dtype), angles.sin()[:, None].to(self.dtype)
