"""Turns a Llama-architecture GGUF file into an ordinary Hugging Face model folder (safetensors, bfloat16).

usage: convert.py MODEL.gguf FOLDER

Everything that the GGUF file states is taken from it: sizes, RoPE, vocabulary, merges, special tokens, chat
template. Quantised tensors are dequantised and rounded to bfloat16 (to nearest, ties to even). The written
folder is read back and checked. Prints one line "DONE TOTAL" (tensors) as it goes; exits 3 with a sentence
on stderr when the file is not what is expected.
"""

import json
import os
import struct
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

# llama.cpp's tensor names -> Hugging Face's. {} is the layer.
TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "blk.{}.attn_norm.weight": "model.layers.{}.input_layernorm.weight",
    "blk.{}.attn_q.weight": "model.layers.{}.self_attn.q_proj.weight",
    "blk.{}.attn_k.weight": "model.layers.{}.self_attn.k_proj.weight",
    "blk.{}.attn_v.weight": "model.layers.{}.self_attn.v_proj.weight",
    "blk.{}.attn_output.weight": "model.layers.{}.self_attn.o_proj.weight",
    "blk.{}.ffn_norm.weight": "model.layers.{}.post_attention_layernorm.weight",
    "blk.{}.ffn_gate.weight": "model.layers.{}.mlp.gate_proj.weight",
    "blk.{}.ffn_up.weight": "model.layers.{}.mlp.up_proj.weight",
    "blk.{}.ffn_down.weight": "model.layers.{}.mlp.down_proj.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}

# Kinds of a token in GGUF's tokenizer.ggml.token_type.
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


class Refused(Exception):
    """The GGUF file is not what this script converts; the message says how."""


class Metadata:
    """The key-value part of a GGUF file."""

    def __init__(self, reader):
        self.fields = reader.fields

    def __contains__(self, key):
        return key in self.fields

    def __getitem__(self, key):
        if key not in self.fields:
            raise Refused("it lacks the metadata key %s" % key)
        return self.fields[key].contents()

    def expect(self, key, value):
        if self[key] != value:
            raise Refused("its %s is %r, and %r is expected" % (key, self[key], value))


def shortest_float(value):
    """The shortest decimal that gives this float32: 1e-05, not 9.999999747378752e-06."""
    number = float(str(np.float32(value)))
    return int(number) if number.is_integer() else number


def model_config(metadata, names):
    metadata.expect("general.architecture", "llama")
    for key in metadata.fields:
        if key.startswith("llama.rope.scaling"):
            raise Refused("it has %s, and RoPE scaling is not converted" % key)
    hidden = metadata["llama.embedding_length"]
    heads = metadata["llama.attention.head_count"]
    if metadata["llama.rope.dimension_count"] * heads != hidden:
        raise Refused("its RoPE does not span whole heads of hidden size / heads")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": hidden**-0.5,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "max_position_embeddings": metadata["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata["llama.block_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "pretraining_tp": 1,
        "rms_norm_eps": shortest_float(metadata["llama.attention.layer_norm_rms_epsilon"]),
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": shortest_float(metadata["llama.rope.freq_base"]),
        "tie_word_embeddings": "output.weight" not in names,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": metadata["llama.vocab_size"],
    }


def expected_shapes(config):
    """Hugging Face tensor name -> shape, in the order in which the file is written."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    layer = {
        "input_layernorm": [hidden],
        "self_attn.q_proj": [hidden, hidden],
        "self_attn.k_proj": [keys, hidden],
        "self_attn.v_proj": [keys, hidden],
        "self_attn.o_proj": [hidden, hidden],
        "post_attention_layernorm": [hidden],
        "mlp.gate_proj": [inner, hidden],
        "mlp.up_proj": [inner, hidden],
        "mlp.down_proj": [hidden, inner],
    }
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden]}
    for index in range(config["num_hidden_layers"]):
        for name, shape in layer.items():
            shapes["model.layers.%d.%s.weight" % (index, name)] = shape
    shapes["model.norm.weight"] = [hidden]
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [config["vocab_size"], hidden]
    return shapes


def hugging_face_name(name):
    parts = name.split(".")
    layer = parts[1] if parts[0] == "blk" else ""
    if layer:
        parts[1] = "{}"
    if ".".join(parts) not in TENSORS:
        raise Refused("it holds the tensor %s, which has no place in a Llama model" % name)
    return TENSORS[".".join(parts)].format(layer)


def unpermute(weight, heads):
    """Undoes llama.cpp's reordering of the rows of q_proj and k_proj (pairs -> halves of each head)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_bfloat16(values):
    """float32 -> the upper 16 bits, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype("<u2")


def convert_tensor(tensor, name, config):
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    values = values.reshape([int(size) for size in reversed(tensor.shape)])
    if not np.isfinite(values).all():
        raise Refused("its tensor %s holds values that are not finite" % tensor.name)
    if name.endswith("q_proj.weight"):
        values = unpermute(values, config["num_attention_heads"])
    if name.endswith("k_proj.weight"):
        values = unpermute(values, config["num_key_value_heads"])
    return values


def write_safetensors(path, reader, config):
    tensors = {hugging_face_name(tensor.name): tensor for tensor in reader.tensors}
    shapes = expected_shapes(config)
    if set(tensors) != set(shapes):
        raise Refused("its tensors differ from a Llama model's: %s" % sorted(set(tensors) ^ set(shapes))[:4])
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for done, (name, shape) in enumerate(shapes.items(), 1):
            values = convert_tensor(tensors[name], name, config)
            if list(values.shape) != shape:
                raise Refused("its tensor %s is %s, and %s is expected" % (tensors[name].name, list(values.shape), shape))
            file.write(to_bfloat16(values).tobytes())
            print(done, len(shapes), flush=True)
        file.flush()
        os.fsync(file.fileno())


def added_token(token):
    return {
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def tokenizer(metadata):
    """tokenizer.json: byte-level BPE, single digits split off first."""
    metadata.expect("tokenizer.ggml.model", "gpt2")
    metadata.expect("tokenizer.ggml.pre", "smollm")
    tokens = metadata["tokenizer.ggml.tokens"]
    kinds = metadata["tokenizer.ggml.token_type"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]
    if len(vocabulary) != len(tokens):
        raise Refused("its vocabulary holds a token twice")
    for merge in merges:
        if len(merge) != 2 or any(part not in vocabulary for part in (*merge, "".join(merge))):
            raise Refused("its merge %r does not fit its vocabulary" % " ".join(merge))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, **added_token(token)}
            for index, (token, kind) in enumerate(zip(tokens, kinds))
            if kind in (CONTROL, USER_DEFINED)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [" ".join(merge) for merge in merges],
        },
    }


def special_tokens(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    return {
        "%s_token" % name: tokens[metadata["tokenizer.ggml.%s_token_id" % key]]
        for name, key in keys.items()
    }


def tokenizer_config(metadata, tokenizer_json, config):
    return {
        "add_prefix_space": metadata["tokenizer.ggml.add_space_prefix"],
        "add_bos_token": metadata["tokenizer.ggml.add_bos_token"],
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in tokenizer_json["added_tokens"]
        },
        "additional_special_tokens": [
            special_tokens(metadata)["bos_token"],
            special_tokens(metadata)["eos_token"],
        ],
        **special_tokens(metadata),
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def generation_config(config):
    return {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def check(folder, config):
    """Reads the folder back: every tensor where the header says, nothing more, and vocabulary = embedding."""
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__")
    found = {name: entry["shape"] for name, entry in header.items()}
    end = max(entry["data_offsets"][1] for entry in header.values())
    if found != expected_shapes(config) or os.path.getsize(path) != 8 + length + end:
        raise Refused("the written model.safetensors does not read back")
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        vocabulary = json.load(file)["model"]["vocab"]
    if sorted(vocabulary.values()) != list(range(config["vocab_size"])):
        raise Refused("its vocabulary does not fill the %d rows of its embedding" % config["vocab_size"])


def main(source, folder):
    reader = GGUFReader(source)
    metadata = Metadata(reader)
    config = model_config(metadata, {tensor.name for tensor in reader.tensors})
    tokenizer_json = tokenizer(metadata)
    write_safetensors(os.path.join(folder, "model.safetensors"), reader, config)
    write_json(folder, "config.json", config)
    write_json(folder, "generation_config.json", generation_config(config))
    write_json(folder, "tokenizer.json", tokenizer_json)
    write_json(folder, "tokenizer_config.json", tokenizer_config(metadata, tokenizer_json, config))
    write_json(folder, "special_tokens_map.json", special_tokens(metadata))
    check(folder, config)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except (Refused, OSError, ValueError) as error:
        sys.stderr.write("%s\n" % error)
        sys.exit(3)
