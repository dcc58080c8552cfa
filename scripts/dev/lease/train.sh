#!/usr/bin/env bash
# One GPU lent for minutes, as docs/experiments.md (2026-11-27) used it: checks that it computes what a CPU does, then trains.
# bash scripts/dev/lease/train.sh FOLDER SECONDS OUT [data=shipped/walking …]
# FOLDER: clips.tar.xz (pack.py), textures/, whl/ (hydra-core, omegaconf, antlr4-python3-runtime; where pip finds none).
# OUT gets eight files, each below 16 MiB: the model, the log, what was said, and the state. To go on from the state, copy
# OUT/last.pt* into runs/shipped_gpu and give train.py the same words. What follows OUT, key=value, goes to train.py.
# Exit code 2 and one sentence for what cannot be.
set -uo pipefail
refuse() { echo "train.sh: $1" >&2; exit 2; }

[ $# -ge 3 ] || refuse "give three arguments: FOLDER SECONDS OUT, see the head of scripts/dev/lease/train.sh"
folder=$1 seconds=$2 out=$3 run=runs/shipped_gpu
[[ $folder != *[\'\$]* ]] || refuse "FOLDER $folder has a ' or \$ in its name: rename it"
for word in "${@:4}"; do
    [[ $word =~ ^[a-z_]+[a-z_0-9.]*=. ]] || refuse "${word:-an empty word} is no key=value for train.py"
    case $word in out=* | experiment=* | textures=* | hydra.* | checkpoint.* | train.budget_minutes=* | train.init_from=*)
        refuse "${word%%=*} is said by train.sh itself: leave $word out" ;;
    esac
done
small=(log.jsonl config.yaml environment.json model.safetensors)
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || refuse "SECONDS must be a whole number from 1 to 999999, not $seconds"
[ -d "$folder" ] || refuse "FOLDER $folder is no folder: make it as docs/experiments.md says"
[ -f "$folder/clips.tar.xz" ] || refuse "$folder/clips.tar.xz is missing: make it with scripts/dev/lease/pack.py"
[ -n "$(ls -A "$folder/textures" 2>/dev/null)" ] || refuse "$folder/textures holds nothing: put the photographs there"
compgen -G "$folder/whl/*.whl" >/dev/null || refuse "$folder/whl holds no wheels: pip download hydra-core into it"
[ -f train.py ] || refuse "train.py is not here: call this in the repository's folder"
for there in "$run"/last.pt*; do
    [ ! -e "$there" ] || refuse "$there is there already, which would be continued: move $run away first"
done
for name in "${small[@]}" said.txt last.pt; do
    [ ! -e "$out/$name" ] || refuse "$out/$name is there already: give an empty folder as OUT"
done
python3 -c 'import torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null || refuse "PyTorch sees no GPU here"
mkdir -p "$out" || refuse "OUT $out cannot be made: give another folder"

# What is there of the run, copied; the state as a whole, the one before taken away after.
keep() {
    local name parts
    for name in "${small[@]}"; do
        [ ! -f "$run/$name" ] || { cp "$run/$name" "$out/.partial" && mv "$out/.partial" "$out/$name"; }
    done
    [ -f "$run/last.pt" ] && cp "$run/last.pt" "$out/.partial" || return
    parts=$(grep -o 'last\.pt\.[0-9a-f]*\.[0-9]*' "$out/.partial")
    cp ${parts//last.pt/$run/last.pt} "$out"/ || return # gone while it was copied: the next time, then
    mv "$out/.partial" "$out/last.pt"
    for name in "$out"/last.pt.*; do [[ $parts == *"${name##*/}"* ]] || rm "$name"; done
}
keep_on() {
    trap exit TERM # after the copy under way
    while sleep 25 & wait $! && kill -0 $$; do keep; done
}

export PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site:$PWD
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site "$folder"/whl/*.whl || exit
python3 -c 'import imageio_ffmpeg' 2>/dev/null || echo 'get_ffmpeg_exe = None  # no video is read there' >/tmp/site/imageio_ffmpeg.py
words=(experiment=shipped/gpu "${@:4}" textures="'$folder/textures'" train.init_from=cotracker_small
    checkpoint.shard_mb=15 checkpoint.bfloat16_moments=true)
python3 -c 'import sys; from cotracker.config.overrides import refuse_misspelt; refuse_misspelt("configs", "train", sys.argv[1:])' \
    "${words[@]}" || exit
OMP_NUM_THREADS=1 python3 scripts/dev/lease/unpack.py "$folder/clips.tar.xz" runs || exit
# where pytest-timeout is not there, pyproject's timeout would be an error
python3 -m pytest tests/test_gpu.py -q -p no:cacheprovider -W ignore::pytest.PytestConfigWarning -k gradients || exit
keep_on >/dev/null 2>&1 & keeper=$!
python3 train.py "${words[@]}" \
    train.budget_minutes="$(python3 -c "print(max(0.1, ($seconds - $SECONDS - 12) / 60))")" >"$out/said.txt" 2>&1
code=$?
kill $keeper
wait $keeper 2>/dev/null
keep
rm -f "$out/.partial"
tail -n 20 "$out/said.txt"
exit $code
