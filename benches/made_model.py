#!/usr/bin/env python3
"""A model of Gemma-2-2B's shape and an SAE of Gemma Scope's with random numbers, as folders: what opening one takes can be timed
where neither can be had. Names, types and sizes of all files are those published; nothing but Python is needed.

    made_model.py [--layers 26] [--d-sae 16384] [--dtype F32] OUT

writes OUT/gemma-2-2b and OUT/gemma-scope-2b-pt-res (10.5 GB; with --dtype BF16 5.2 GB).
"""

import argparse
import itertools
import json
import os
import struct
import zipfile
from pathlib import Path

D, MLP, HEADS, KV, D_HEAD, VOCAB, MERGES = 2304, 9216, 8, 4, 256, 256_000, 580_604
# Numbers that repeat: no width divides it, so that no two rows are the same.
PERIOD = (1 << 20) - 3


def noise(width: int) -> bytes:
    """`PERIOD` numbers of either sign between 2^-7 and 2^-5, little-endian floats of 2 or 4 bytes (bf16 is half of an f32)."""
    numbers = bytearray(os.urandom(PERIOD * width))
    # Sign and the upper bits of the exponent; its lowest bit is the one above the mantissa.
    numbers[width - 1 :: width] = os.urandom(PERIOD).translate(bytes([0x3C, 0xBC] * 128))
    return bytes(numbers)


def write(file, numbers: bytes, size: int, at: int) -> int:
    """`size` bytes of what repeats from `at` on; where it goes on."""
    while size:
        part = memoryview(numbers)[at : at + size]
        file.write(part)
        size -= len(part)
        at = (at + len(part)) % len(numbers)
    return at


def tensors(layers: int):
    """Names and shapes as they are published; norms, which multiply by 1 more, are zeros."""
    yield "model.embed_tokens.weight", [VOCAB, D]
    for layer in range(layers):
        name = f"model.layers.{layer}."
        for norm in ["input", "post_attention", "pre_feedforward", "post_feedforward"]:
            yield f"{name}{norm}_layernorm.weight", [D]
        for part, outputs in [("q", HEADS), ("k", KV), ("v", KV)]:
            yield f"{name}self_attn.{part}_proj.weight", [outputs * D_HEAD, D]
        yield f"{name}self_attn.o_proj.weight", [D, HEADS * D_HEAD]
        for part in ["gate", "up"]:
            yield f"{name}mlp.{part}_proj.weight", [MLP, D]
        yield f"{name}mlp.down_proj.weight", [D, MLP]
    yield "model.norm.weight", [D]


def model(out: Path, layers: int, dtype: str):
    out.mkdir(parents=True)
    width = {"F32": 4, "BF16": 2}[dtype]
    header, end = {}, 0
    for name, shape in tensors(layers):
        size = width * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers, at = noise(width), 0
    with open(out / "model.safetensors", "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            begin, stop = entry["data_offsets"]
            if len(entry["shape"]) == 1:
                file.write(bytes(stop - begin))
            else:
                at = write(file, numbers, stop - begin, at)
    config = {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": D, "intermediate_size": MLP,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": D_HEAD,
        "vocab_size": VOCAB, "max_position_embeddings": 8192, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1,
        "pad_token_id": 0,
    }
    (out / "config.json").write_text(json.dumps(config))


def tokenizer(out: Path):
    """As many tokens and merges as Gemma has: all words of small letters and spaces up to three, and as many of four."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    letters = "▁abcdefghijklmnopqrstuvwxyz"
    byte = [f"<0x{n:02X}>" for n in range(256)]
    others = [chr(n) for n in range(33, 127) if chr(n) not in letters]
    words = ("".join(word) for length in range(1, 5) for word in itertools.product(letters, repeat=length))
    all_tokens = [*special, *byte, *others]
    all_tokens += itertools.islice(words, VOCAB - len(all_tokens))
    vocabulary = {token: at for at, token in enumerate(all_tokens)}
    made = all_tokens[len(special) + len(byte) + len(others) :]
    splits = (f"{word[:at]} {word[at:]}" for word in made for at in range(1, len(word)))
    merges = list(itertools.islice(splits, MERGES))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    whole = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": at, "content": token, **flags} for at, token in enumerate(special)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocabulary, "merges": merges,
        },
    }
    (out / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (out / "tokenizer_config.json").write_text(json.dumps(tokens))


def sae(out: Path, layer: int, d_sae: int):
    """Rows of about unit length; about one latent in two hundred fires on what random weights make of a text."""
    folder = out / f"layer_{layer}" / f"width_{d_sae >> 10}k" / "average_l0_80"
    folder.mkdir(parents=True)
    numbers, at = noise(4), 0
    arrays = {"b_dec": [D], "W_dec": [d_sae, D], "W_enc": [D, d_sae], "threshold": [d_sae], "b_enc": [d_sae]}
    with zipfile.ZipFile(folder / "params.npz", "w") as archive:
        for name, shape in arrays.items():
            size = 4 * shape[0] * (shape[1] if len(shape) == 2 else 1)
            about = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
            about += " " * (-(10 + len(about) + 1) % 64) + "\n"
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(about)) + about.encode())
                if name == "threshold":
                    # Each block adds two normalised outputs; 0.5 % of a normal distribution lies beyond 2.58 of its widths.
                    file.write(struct.pack("<f", 2.58 * (1 + 2 * (layer + 1)) ** 0.5) * d_sae)
                elif len(shape) == 1:
                    file.write(bytes(size))
                else:
                    at = write(file, numbers, size, at)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=26)
    parser.add_argument("--d-sae", type=int, default=16384)
    parser.add_argument("--dtype", choices=["F32", "BF16"], default="F32", help="as published: F32")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    model(args.out / "gemma-2-2b", args.layers, args.dtype)
    tokenizer(args.out / "gemma-2-2b")
    sae(args.out / "gemma-scope-2b-pt-res", min(12, args.layers - 1), args.d_sae)


main()
