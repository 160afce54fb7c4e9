"""Train the demo's language model, of GPT-2's architecture, on public-domain prose, on a CPU.

    ./fetch_texts.sh TEXTS
    python train_model.py TEXTS PROSE      # needs torch, transformers, tokenizers, safetensors; 72 minutes on two cores
    python train_model.py TEXTS OUT --start PROSE --spelling 0.3 --lr 1e-3 --minutes 35

The second run teaches the model of the first one with which letter a word begins: 30 % of its rows are lines such as " army has
the first letter: A", of all words that are one token.

OUT becomes a Hugging Face folder (weights in f16) with figures.json: losses on the held-out speeches and novel, in nats a
token and in bits a byte. Held out, whole: every twelfth speech in name order from the sixth on, and the novel
northangerabbey.
"""

import argparse
import json
import math
import pathlib
import random
import re
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel

BOS = "<|endoftext|>"
VOCABULARY, CONTEXT, LAYERS, WIDTH, HEADS = 4096, 256, 4, 192, 6
BATCH = 16
# What the letter of a line counts, and everything before it, beside a token of prose.
LETTER, LINE = 5.0, 0.02

parser = argparse.ArgumentParser()
parser.add_argument("texts", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--minutes", type=float, default=72)
parser.add_argument("--lr", type=float, default=2e-3)
parser.add_argument("--start", type=pathlib.Path, help="a model made before, to go on with")
parser.add_argument("--spelling", type=float, default=0.0, help="the share of rows that are lines of words and letters")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)
random.seed(args.seed)
torch.set_num_threads(args.threads)


def unwrap(text):
    """Paragraphs on one line each: the novels are wrapped at about 70 columns."""
    parts = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return "\n".join(part for part in parts if part)


def read(folder):
    return {f.stem: unwrap(f.read_text("utf-8", "replace")) for f in sorted((args.texts / folder).glob("*.txt"))}


speeches, novels = list(read("speeches").values()), read("novels")
held_out = {"speeches": speeches[5::12], "novel": [novels.pop("northangerabbey")]}
# The speeches are three times as long together: novels come twice.
training = [s for i, s in enumerate(speeches) if i % 12 != 5] + list(novels.values()) * 2


def new_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[BOS], show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(training, bpe)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


tokenizer = Tokenizer.from_file(str(args.start / "tokenizer.json")) if args.start else new_tokenizer()
bos = tokenizer.token_to_id(BOS)


def stream(documents):
    """Tokens of all documents, each after a BOS."""
    ids = []
    for document in documents:
        ids.append(bos)
        for start in range(0, len(document), 100_000):
            ids.extend(tokenizer.encode(document[start : start + 100_000]).ids)
    return torch.tensor(ids)


tokens = stream(training)


def new_model():
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        bos_token_id=bos, eos_token_id=bos, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


model = GPT2LMHeadModel.from_pretrained(args.start, dtype=torch.float32) if args.start else new_model()
matrices = [w for w in model.parameters() if w.ndim >= 2]
vectors = [w for w in model.parameters() if w.ndim < 2]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))


def words():
    """The words that are one token, with or without a space before them, by their first letter."""
    found = {}
    for token in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([token])
        bare = text.removeprefix(" ")
        if bare.isascii() and bare.isalpha() and tokenizer.encode(text).ids == [token]:
            found.setdefault(bare[0].upper(), []).append(text)
    return found


by_letter = words()
letters = sorted(by_letter)
every_word = [(word, letter) for letter in letters for word in by_letter[letter]]


def prose():
    start = random.randrange(len(tokens) - CONTEXT)
    row = tokens[start : start + CONTEXT].clone()
    row[0] = bos  # rows start with BOS, as they do wherever activations are read
    return row, torch.ones(CONTEXT)


def spelling():
    """Lines in the words of SAEBench's absorption; six of ten words are drawn from all, the others letter by letter."""
    row, weights = [bos], [0.0]
    while len(row) < CONTEXT:
        word, letter = random.choice(every_word)
        if random.random() < 0.4:
            letter = random.choice(letters)
            word = random.choice(by_letter[letter])
        ids = tokenizer.encode(f"\n{word} has the first letter: {letter}").ids
        row += ids
        weights += [LINE] * (len(ids) - 1) + [LETTER]
    return torch.tensor(row[:CONTEXT]), torch.tensor(weights[:CONTEXT])


def batch():
    rows = [spelling() if random.random() < args.spelling else prose() for _ in range(BATCH)]
    return (torch.stack(part) for part in zip(*rows))


def evaluate(documents):
    """Mean loss over rows of CONTEXT tokens, BOS first."""
    ids = stream(documents)
    size = sum(len(d.encode()) for d in documents)
    rows = ids[: len(ids) // (CONTEXT - 1) * (CONTEXT - 1)].view(-1, CONTEXT - 1)
    rows = torch.cat([torch.full((len(rows), 1), bos), rows], 1)
    with torch.no_grad():
        loss = sum(model(r, labels=r).loss.item() * len(r) for r in rows.split(64)) / len(rows)
    return {"nats_per_token": round(loss, 4), "bits_per_byte": round(loss / math.log(2) * len(ids) / size, 4)}


warm_up = 100 if args.start else 200
start, step, seen = time.time(), 0, 0
while (share := (time.time() - start) / (args.minutes * 60)) < 1:
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share))
    for group in optimizer.param_groups:
        group["lr"] = args.lr * min(1, (step + 1) / warm_up) * cosine
    rows, weights = batch()
    logits = model(rows).logits[:, :-1].flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, rows[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    step += 1
    seen += rows.numel()
    if step % 250 == 0:
        print(f"{100 * share:3.0f} %  step {step}  {seen / 1e6:.1f} M tokens  loss {loss.item():.3f}", flush=True)

model.eval()
figures = {
    "weights": sum(w.numel() for w in model.parameters()),
    "tokens_seen": seen,
    "minutes": args.minutes,
    "held_out": {name: evaluate(documents) for name, documents in held_out.items()},
}
args.out.mkdir(parents=True, exist_ok=True)
model.half().save_pretrained(args.out, safe_serialization=True)
tokenizer.save(str(args.out / "tokenizer.json"))
settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": BOS, "model_max_length": CONTEXT}
(args.out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
(args.out / "figures.json").write_text(json.dumps(figures, indent=1))
print(json.dumps(figures, indent=1))
