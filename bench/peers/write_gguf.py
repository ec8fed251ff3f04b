"""Writes a Llama-architecture Hugging Face folder as a GGUF file, with every matrix in one type; embedding and head have
8 bits where the others have 4.

    python write_gguf.py FOLDER f32|bf16|q8_0|q4_0 OUT.gguf
"""

import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.torch import load_file

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.weight"


def interleave(weight, heads):
    """llama.cpp rotates neighbouring pairs, transformers the two halves of a head: reorders the rows."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)


KINDS = {
    "f32": (gguf.LlamaFileType.ALL_F32, gguf.GGMLQuantizationType.F32),
    "bf16": (gguf.LlamaFileType.MOSTLY_BF16, gguf.GGMLQuantizationType.BF16),
    "q8_0": (gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0),
    "q4_0": (gguf.LlamaFileType.MOSTLY_Q4_0, gguf.GGMLQuantizationType.Q4_0),
}


def type_of(name, kind):
    """Of a matrix."""
    if kind == "q4_0" and name in ("model.embed_tokens.weight", "lm_head.weight"):
        return KINDS["q8_0"][1]
    return KINDS[kind][1]


def add_weights(writer, tensors, config, kind):
    for name, tensor in tensors.items():
        if name.endswith("q_proj.weight"):
            tensor = interleave(tensor, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            tensor = interleave(tensor, config["num_key_value_heads"])
        values = tensor.float().contiguous().numpy().astype(np.float32)
        if kind != "f32" and tensor.ndim == 2:
            ggml_type = type_of(name, kind)
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, ggml_type), raw_dtype=ggml_type)
        else:  # vectors stay float32
            writer.add_tensor(gguf_name(name), values)


def add_vocabulary(writer, tokenizer, config):
    vocabulary = dict(tokenizer["model"]["vocab"])
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    by_id = {index: text for text, index in {**vocabulary, **added}.items()}
    tokens = [by_id.get(index, f"[unused {index}]") for index in range(config["vocab_size"])]
    control = set(added.values())
    types = [
        gguf.TokenType.CONTROL if index in control
        else gguf.TokenType.NORMAL if index in by_id
        else gguf.TokenType.UNUSED
        for index in range(config["vocab_size"])
    ]
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def main(folder, kind, out):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] != "llama" or config.get("attention_bias") or config.get("rope_scaling"):
        sys.exit("the GGUF writer knows Llama models without biases and RoPE scaling only")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_file_type(KINDS[kind][0])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_vocabulary(writer, json.loads((folder / "tokenizer.json").read_text()), config)
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(file))
    add_weights(writer, tensors, config, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:4])
