#!/usr/bin/env bash
# Draw every picture of this folder anew, with the program as it is: `cargo build --release && screenshots/make.sh`, or only
# those that are named: `screenshots/make.sh find.svg study.svg`. With rsvg-convert installed the main one becomes a PNG, too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${PRUNELENS:-$here/../target/release/prunelens}")
named=" $* "

wanted() { [[ $named == "  " || $named == *" $1 "* ]]; }

draw() { # NAME SIZE KEYS [FLAG ...]
    local name=$1 size=$2 keys=$3
    shift 3
    wanted "$name" || return 0
    [[ " $* " == *" --color "* ]] || set -- --color truecolor "$@"
    "$program" render "$@" --results results --size "$size" --keys "$keys" --out "$here/$name"
    echo "$name"
}

# Metric jobs of the pictures leave their files here.
cd "$(mktemp -d)"
start='1<wait><down><down><wait>]]]]]<wait>'
draw explore.svg 120x36 "$start"
draw explore.txt 120x36 "$start"
draw explore-light.svg 120x36 "$start" --theme light
draw explore-16-colours.svg 120x36 "$start" --color 16
draw explore-ascii.txt 120x36 "$start" --color none --ascii
draw narrow.svg 80x24 "$start"
draw whole-prompt.svg 120x36 '2<wait>w<wait>]]]<wait>'
draw latent.svg 120x36 '1<wait><down><down><wait><enter><wait>'
draw predictions.svg 120x36 '1<wait><down><down><wait>xp<wait>'
draw help.svg 120x36 '1<wait>?'
draw metrics.svg 120x36 '1<wait>m<enter><job>'
draw form.svg 120x36 '1<wait>m<wait>'
draw sweep.svg 120x36 '1<wait>m<right><enter><job><right>'
draw drag.cast 120x36 '1<wait><tab><wait>]<wait>]<wait>]<wait>]<wait>]<wait>]<wait>]<wait>]<wait>[<wait>[<wait>c<wait>'
draw find.svg 100x30 '1<wait>/navy<wait>'
draw generation.svg 120x30 '1<wait><tab><down><down><wait>xg<wait>'
draw two-prompts.svg 100x30 '1<wait>|<wait><ctrl-l>The army and the fleet<wait><enter><wait>'
draw atlas.svg 120x30 '1<wait>a<enter><wait><enter><job>a<wait>'
if wanted study.svg; then
    # Two copies of the demo, on few rows: what the grid looks like, not a result.
    cat >study.toml <<'END'
[grid]
compress = ["wanda:0.5", "rtn:int4:g64"]
ratios = [0.25, 0.5, 0.75, 0.9]
[metrics.core]
rows = 16
[metrics.sweep]
rows = 16
END
    "$program" study run study.toml --out study
fi
draw study.svg 100x30 '1<wait>S<ctrl-u>study<enter><wait><right>'
if wanted explore.svg && command -v rsvg-convert >/dev/null; then
    rsvg-convert -w 1440 "$here/explore.svg" -o "$here/explore.png"
fi
