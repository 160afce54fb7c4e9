"""Write every long text of an R package's lazy-load database as a file of its own.

    python unpack_r_texts.py BASE OUT      # BASE.rdx and BASE.rdb; OUT/NAME.txt, one line an element; needs rdata
"""

import bz2
import lzma
import pathlib
import sys
import zlib

import rdata

base, out = sys.argv[1], pathlib.Path(sys.argv[2])
SHORTEST = 10_000


def decompress(blob):
    """R stores a length (4 bytes), then zlib data, or a letter ('2' bzip2, 'Z' raw LZMA2) and the data."""
    kind, body = blob[4:5], blob[5:]
    if kind == b"2":
        return bz2.decompress(body)
    if kind == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}]
        return lzma.decompress(body, format=lzma.FORMAT_RAW, filters=filters)
    return zlib.decompress(blob[4:])


def read(raw):
    return rdata.conversion.convert(rdata.parser.parse_data(raw))


index = pathlib.Path(base + ".rdx").read_bytes()
index = read(zlib.decompress(index) if index[:1] == b"\x78" else index)
data = pathlib.Path(base + ".rdb").read_bytes()
for name, (offset, length) in index["variables"].items():
    lines = read(decompress(data[int(offset) : int(offset) + int(length)]))
    text = "\n".join(str(line) for line in lines)
    if len(text) > SHORTEST:
        (out / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
