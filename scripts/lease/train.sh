#!/usr/bin/env bash
# One GPU lent for minutes, as docs/experiments.md (2026-11-27) used it: checks that it computes what a CPU does, then trains.
# bash scripts/lease/train.sh FOLDER SECONDS OUT
# FOLDER: clips.tar.xz (pack.py), textures/, whl/ (hydra-core, omegaconf, antlr4-python3-runtime; where pip finds none).
set -uo pipefail
folder=$1 seconds=$2 out=$3
export PYTHONUNBUFFERED=1 PYTHONPATH=/tmp/site:$folder/shim:$PWD
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site "$folder"/whl/*.whl
mkdir -p "$folder/shim" "$out"
python3 -c 'import imageio_ffmpeg' 2>/dev/null || echo 'get_ffmpeg_exe = None  # no video is read there' > "$folder/shim/imageio_ffmpeg.py"
OMP_NUM_THREADS=1 python3 scripts/lease/unpack.py "$folder/clips.tar.xz" runs
python3 -m pytest tests/test_gpu.py -q -p no:cacheprovider -k gradients || exit 1
(while sleep 25; do cp runs/shipped_gpu/{log.jsonl,config.yaml,environment.json,model.safetensors} "$out"/; done) 2>/dev/null & keeper=$!
python3 train.py experiment=shipped_gpu textures="$folder/textures" train.init_from=cotracker_small \
    train.budget_minutes="$(python3 -c "print(max(0.1, ($seconds - $SECONDS - 12) / 60))")" > "$out/said.txt" 2>&1
code=$?
kill $keeper
cp runs/shipped_gpu/{log.jsonl,config.yaml,environment.json,model.safetensors} "$out"/
tail -n 20 "$out/said.txt"
exit $code
