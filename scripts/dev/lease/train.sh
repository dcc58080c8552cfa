#!/usr/bin/env bash
# One GPU lent for minutes: tests that it computes what a CPU does, then trains.
# bash scripts/dev/lease/train.sh FOLDER SECONDS OUT [data=shipped/walking …]
# FOLDER: clips.tar.xz (pack.py), textures/, whl/ (hydra-core, omegaconf, antlr4-python3-runtime).
# OUT gets the model, the log, the output and the state, each file below 16 MiB. To resume:
#   cat OUT/last.pt.$(cut -c 1-12 OUT/last.pt.sha256).* >runs/shipped_gpu/last.pt
#   sha256sum runs/shipped_gpu/last.pt   # must be that of OUT/last.pt.sha256
# and run train.py with the same arguments. key=value after OUT goes to train.py.
# Exit code 2 and one sentence for wrong arguments.
set -uo pipefail
refuse() { echo "train.sh: $1" >&2; exit 2; }

[ $# -ge 3 ] || refuse "give three arguments: FOLDER SECONDS OUT, see the head of scripts/dev/lease/train.sh"
folder=$1 seconds=$2 out=$3 run=runs/shipped_gpu
[[ $folder != *[\'\$]* ]] || refuse "FOLDER $folder has a ' or \$ in its name: rename it"
for word in "${@:4}"; do
    [[ $word =~ ^[a-z_]+[a-z_0-9.]*=. ]] || refuse "${word:-an empty word} is not key=value"
    case $word in out=* | experiment=* | textures=* | hydra.* | checkpoint.* | train.budget_minutes=* | train.init_from=*)
        refuse "train.sh sets ${word%%=*} itself: leave $word out" ;;
    esac
done
small=(log.jsonl config.yaml environment.json model.safetensors)
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || refuse "SECONDS must be a whole number from 1 to 999999, not $seconds"
[ -d "$folder" ] || refuse "FOLDER $folder is no folder: see the head of scripts/dev/lease/train.sh"
[ -f "$folder/clips.tar.xz" ] || refuse "$folder/clips.tar.xz is missing: make it with scripts/dev/lease/pack.py"
[ -n "$(ls -A "$folder/textures" 2>/dev/null)" ] || refuse "$folder/textures is empty: put photographs there"
compgen -G "$folder/whl/*.whl" >/dev/null || refuse "$folder/whl has no wheels: pip download hydra-core into it"
[ -f train.py ] || refuse "train.py is not here: call this in the repository's folder"
[ ! -e "$run/last.pt" ] || refuse "$run/last.pt exists and would be resumed: move $run away first"
[ -z "$(ls -A "$out" 2>/dev/null)" ] || refuse "OUT $out is not empty: give an empty folder"
python3 -c 'import torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null || refuse "PyTorch sees no GPU here"
mkdir -p "$out" || refuse "OUT $out cannot be made: give another folder"

# Copies the run's files to OUT; the state in pieces of 15 MB, whose hash is written last.
copy_run() {
    local name digest
    for name in "${small[@]}"; do
        [ ! -f "$run/$name" ] || { cp "$run/$name" "$out/.partial" && mv "$out/.partial" "$out/$name"; }
    done
    [ -f "$run/last.pt" ] && cp "$run/last.pt" "$out/.partial" || return
    digest=$(sha256sum "$out/.partial" | cut -d ' ' -f 1)
    split -b 15000000 -d -a 3 "$out/.partial" "$out/last.pt.${digest:0:12}." || return
    echo "$digest" >"$out/.partial" && mv "$out/.partial" "$out/last.pt.sha256"
    for name in "$out"/last.pt.*.*; do [[ $name == *".${digest:0:12}."* ]] || rm "$name"; done
}
copy_repeatedly() {
    trap exit TERM # after the copy under way
    while sleep 25 & wait $! && kill -0 $$; do copy_run; done
}

export PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site:$PWD
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site "$folder"/whl/*.whl || exit
python3 -c 'import imageio_ffmpeg' 2>/dev/null || echo 'get_ffmpeg_exe = None  # no video is read there' >/tmp/site/imageio_ffmpeg.py
words=(experiment=shipped/gpu "${@:4}" textures="'$folder/textures'" train.init_from=cotracker_small
    checkpoint.bfloat16_moments=true)
python3 -c 'import sys; from cotracker.config.overrides import refuse_misspelt; refuse_misspelt("configs", "train", sys.argv[1:])' \
    "${words[@]}" || exit
OMP_NUM_THREADS=1 python3 scripts/dev/lease/unpack.py "$folder/clips.tar.xz" runs || exit
# where pytest-timeout is not there, pyproject's timeout would be an error
python3 -m pytest tests/training/test_gpu.py -q -p no:cacheprovider -W ignore::pytest.PytestConfigWarning -k gradients || exit
copy_repeatedly >/dev/null 2>&1 & copier=$!
python3 train.py "${words[@]}" \
    train.budget_minutes="$(python3 -c "print(max(0.1, ($seconds - $SECONDS - 12) / 60))")" >"$out/output.txt" 2>&1
code=$?
kill $copier
wait $copier 2>/dev/null
copy_run
rm -f "$out/.partial"
tail -n 20 "$out/output.txt"
exit $code
