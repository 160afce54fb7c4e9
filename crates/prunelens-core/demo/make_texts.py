"""Cut the demo's calibration and held-out texts from the documents that `fetch_texts.sh` leaves.

    python make_texts.py TEXTS DEMO [TRAINING.jsonl]

TEXTS holds speeches/*.txt and novels/*.txt. Held out from the model and its SAEs, whole: every twelfth speech in name
order from the sixth on, and the novel northangerabbey. Calibration is cut from the other documents. TRAINING.jsonl gets
those other documents whole, and lines that say with which letter a word begins: what the SAEs are trained on.
"""

import json
import pathlib
import random
import re
import sys

# Of words and letters: about a tenth of the tokens.
DOCUMENTS, LINES = 40, 1200

texts, demo = map(pathlib.Path, sys.argv[1:3])
training = [pathlib.Path(path) for path in sys.argv[3:]]


def unwrap(text):
    """Paragraphs on one line each: the novels are wrapped at about 70 columns."""
    parts = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return "\n".join(part for part in parts if part)


def read(folder):
    return [(f.stem, unwrap(f.read_text("utf-8", "replace"))) for f in sorted((texts / folder).glob("*.txt"))]


def piece(text, at, size):
    """About `size` characters from the share `at` of a text, from the start of a paragraph to the end of one."""
    start = text.find("\n", int(len(text) * at)) + 1
    end = text.find("\n", start + size)
    return text[start : end if end > 0 else len(text)].strip()


def write(path, pieces):
    with open(path, "w", encoding="utf-8") as out:
        for source, text in pieces:
            out.write(json.dumps({"source": source, "text": text}, ensure_ascii=False) + "\n")
    print(path, path.stat().st_size, "bytes")


speeches, novels = read("speeches"), read("novels")
held_speeches = speeches[5::12]
train_speeches = [s for i, s in enumerate(speeches) if i % 12 != 5]
held_novel = [n for n in novels if n[0] == "northangerabbey"]
train_novels = [n for n in novels if n[0] != "northangerabbey"]

calibration = []
for n in range(20):
    name, text = train_speeches[n * len(train_speeches) // 20]
    calibration.append((name, piece(text, 0.3, 2000)))
    name, text = train_novels[n % len(train_novels)]
    calibration.append((name, piece(text, (n + 1) / 22, 2000)))
write(demo / "calibration.jsonl", calibration)

held_out = []
for n in range(24):
    name, text = held_speeches[n * len(held_speeches) // 24]
    held_out.append((name, piece(text, 0.15 + 0.5 * (n % 2), 2000)))
    name, text = held_novel[0]
    held_out.append((name, piece(text, (n + 1) / 26, 2000)))
write(demo / "held_out.jsonl", held_out)



def spelling(rng):
    """Lines in the words of SAEBench's absorption, half of the words drawn from all that are one token, half letter by letter."""
    vocabulary = json.loads((demo / "model" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    words = {}
    for token in sorted(vocabulary):
        word = token.replace("\u0120", " ", 1)
        if word.isascii() and word.strip(" ").isalpha() and word.count(" ") < 2:
            words.setdefault(word.strip(" ")[0].upper(), []).append(word)
    every = [word for found in words.values() for word in found]
    for number in range(DOCUMENTS):
        lines = [rng.choice(every) if rng.random() < 0.5 else rng.choice(words[rng.choice(sorted(words))]) for _ in range(LINES)]
        yield f"spelling{number}", "\n".join(f"{word} has the first letter: {word.strip(' ')[0].upper()}" for word in lines)


for path in training:
    write(path, train_speeches + train_novels + list(spelling(random.Random(0))))
