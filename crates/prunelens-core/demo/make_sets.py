"""Make the demo's labelled texts and its table of characters from the documents that `fetch_texts.sh` leaves.

    python make_sets.py TEXTS DEMO TABLES

TEXTS holds speeches/*.txt and novels/*.txt. DEMO gets labelled.csv. TABLES gets characters.jsonl and templates.json, of
which `prunelens data entities` keeps what the model knows. The same texts always give the same files.

Labels are rules, nothing else:

kind     where a text is from: a novel, a speech given before 1900 (early-speech), or one given in 1934 or later (late-speech);
         speeches between are left out, so that the two are well apart
theme    words: a piece of a speech has the theme of which it holds at least two words (WORDS), if it holds none of another
Pronoun  of a character: he or she, by the list below
Sir      the name that most often follows "Sir" in the character's novel
Lady     the name that most often follows "Lady" there
"""

import collections
import csv
import hashlib
import json
import pathlib
import re
import sys

texts, demo, tables = map(pathlib.Path, sys.argv[1:4])

# Pieces in a cell (a theme in a kind of speech), and of novels: to train on and to test on.
CELL, NOVEL = (188, 50), (376, 100)
# Characters of a piece.
LEAST, MOST = 160, 260
WORDS = {
    "money": "tax taxes taxation tariff tariffs revenue revenues debt debts budget budgets deficit deficits surplus "
    "expenditure expenditures currency gold silver bank banks banking loan loans bonds treasury appropriation "
    "appropriations finances fiscal inflation",
    "war": "war wars army armies navy military troops soldiers enemy enemies battle weapons militia fleet naval vessels "
    "armed warfare defense forces soldier sailors missiles nuclear weapon combat veterans regiments artillery arms",
    "nations": "treaty treaties minister ministers diplomatic negotiation negotiations ambassador ambassadors foreign "
    "republics britain spain france mexico russia china japan germany majesty convention soviet allies alliance "
    "alliances diplomacy international abroad hemisphere europe asia africa korea vietnam iraq iran israel nato communist",
}
# Women, then men, of the novels that have both a Sir and a Lady and that the model was trained on.
CHARACTERS = {
    "prideprejudice": (
        "Elizabeth, Lydia, Kitty, Jane, Charlotte, Lizzy, Mrs. Bennet, Lady Catherine, Miss Bingley, Miss Bennet, Miss Darcy, "
        "Miss Lucas, Mrs. Gardiner, Mrs. Collins, Mrs. Hurst, Mrs. Phillips, Mrs. Long, Lady Lucas, Charlotte Lucas",
        "Mr. Darcy, Mr. Bingley, Mr. Collins, Mr. Bennet, Mr. Wickham, Mr. Gardiner, Mr. Hurst, Colonel Fitzwilliam, "
        "Colonel Forster, Sir William, Wickham, Bingley, Darcy",
    ),
    "sensesensibility": (
        "Elinor, Marianne, Lucy, Margaret, Mrs. Jennings, Mrs. Dashwood, Mrs. Ferrars, Mrs. Palmer, Mrs. John Dashwood, "
        "Lady Middleton, Miss Dashwood, Miss Steele, Lucy Steele",
        "Edward, Willoughby, Colonel Brandon, Sir John, Mr. Palmer, Mr. Willoughby, Mr. Ferrars, Mr. Dashwood, John Dashwood, "
        "Edward Ferrars, Robert Ferrars",
    ),
    "mansfieldpark": (
        "Fanny, Julia, Maria, Susan, Betsey, Rebecca, Miss Crawford, Miss Price, Miss Bertram, Mrs. Norris, Mrs. Grant, "
        "Mrs. Rushworth, Mrs. Price, Lady Bertram, Fanny Price, Mary Crawford",
        "Edmund, Tom, William, Crawford, Sir Thomas, Mr. Crawford, Mr. Rushworth, Mr. Yates, Mr. Price, Mr. Bertram, Dr. Grant, "
        "Henry Crawford, Tom Bertram",
    ),
    "persuasion": (
        "Anne, Louisa, Henrietta, Lady Russell, Lady Dalrymple, Lady Elliot, Miss Elliot, Miss Carteret, Mrs Clay, "
        "Mrs Musgrove, Mrs Croft, Mrs Smith, Mrs Harville, Anne Elliot, Louisa Musgrove",
        "Captain Wentworth, Captain Harville, Captain Benwick, Sir Walter, Admiral Croft, Mr Elliot, Mr Shepherd, Mr Musgrove, "
        "Colonel Wallis, Charles Hayter, Charles Musgrove",
    ),
}
# A sentence before, because the model was trained on rows that do not begin with a name.
BEFORE = "It was a fine day.\n"
THOUGHT = [
    "was sure that", "was glad that", "smiled, and said that", "was obliged to say that", "felt that", "knew that",
    "was so happy that", "could not help feeling that",
]
MET = [
    "was glad to see", "was sitting with", "had been talking to", "walked out with", "was speaking to", "was listening to",
    "was thinking of", "had dined with",
]
PATTERNS = {theme: re.compile(r"\b(" + "|".join(words.split()) + r")\b") for theme, words in WORDS.items()}
SENTENCE = re.compile(r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<!St\.)\s+(?=[A-Z\"])")


seen = set()


def pieces(text):
    """Sentences that follow each other, as many as make LEAST characters; longer sentences are passed over. What a president
    said twice counts once, so that no text is in both parts."""
    piece = ""
    for sentence in SENTENCE.split(re.sub(r"\s+", " ", text)):
        piece = f"{piece} {sentence}".strip()
        if len(sentence) < 20 or len(piece) > MOST or not piece.isascii():
            piece = ""
        elif len(piece) >= LEAST:
            if piece not in seen:
                seen.add(piece)
                yield piece
            piece = ""


def theme(piece):
    found = {theme: len(pattern.findall(piece.lower())) for theme, pattern in PATTERNS.items()}
    found = {theme: count for theme, count in found.items() if count}
    return next(iter(found)) if len(found) == 1 and max(found.values()) >= 2 else None


def drawn(pieces, count):
    """As good as random, and the same everywhere: in the order of their digests."""
    return sorted(pieces, key=lambda piece: hashlib.sha256(piece[1].encode()).hexdigest())[:count]


def read(folder):
    return [(f.stem, f.read_text("utf-8", "replace")) for f in sorted((texts / folder).glob("*.txt"))]


speeches, novels = read("speeches"), read("novels")
# A document is for training or for testing as a whole: two of nine speeches, and the last fifth of each novel, is for testing.
cells = collections.defaultdict(list)
for at, (source, text) in enumerate(speeches):
    year = int(source[:4])
    kind = "early-speech" if year < 1900 else "late-speech" if year >= 1934 else None
    for piece in pieces(text) if kind else ():
        if found := theme(piece):
            cells["test" if at % 9 in (3, 7) else "train", kind, found].append((source, piece))
for source, text in novels:
    last = text.find("\n\n", len(text) * 4 // 5)
    for part, share in [("train", text[:last]), ("test", text[last:])]:
        cells[part, "novel", ""] += [(source, piece) for piece in pieces(share)]

with open(demo / "labelled.csv", "w", encoding="utf-8", newline="") as out:
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["part", "kind", "theme", "source", "text"])
    for labels, found in sorted(cells.items(), reverse=True):
        size = (NOVEL if labels[1] == "novel" else CELL)[labels[0] == "test"]
        assert len(found) >= size, (labels, len(found), size)
        table.writerows([*labels, *piece] for piece in drawn(found, size))
print(demo / "labelled.csv", (demo / "labelled.csv").stat().st_size, "bytes")

rows = []
for source, text in novels:
    most = {t: collections.Counter(re.findall(rf"\b{t}\s+([A-Z][a-z]+)\b", text)).most_common(1) for t in ("Sir", "Lady")}
    for pronoun, names in zip(("she", "he"), CHARACTERS.get(source, ())):
        labels = {"Pronoun": pronoun, **{title: found[0][0] for title, found in most.items()}}
        rows += [{"name": name, **labels} for name in names.split(", ")]
(tables / "characters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
templates = {"Pronoun": [f"{BEFORE}%s {words}" for words in THOUGHT]}
templates |= {title: [f"{BEFORE}%s {words} {title}" for words in MET] for title in ("Sir", "Lady")}
(tables / "templates.json").write_text(json.dumps(templates, indent=1))
print(len(rows), "characters")
