"""Command lines: paths of any spelling, names of other programs, wrong values, whole sweeps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cotracker.config.overrides import _vary, dotted_keys, find_misspelt, find_problem
from cotracker.config.synonyms import SYNONYMS
from cotracker.config.words import foreign_flag, quote_words

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs"
PATHS = ["/x/Data (1)", "/x/新加卷2", "a=b", "ha#sh", "com,ma", "{a}", "a'b", 'a"b', "a\\", "2026",
         "1e-3", "true", "a;b&c!", "  x", "$HOME", "[1]x", "%20", "a\tb"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name, key", [("train", "out"), ("evaluate", "benchmark.root"),
                                       ("generate", "textures")])  # fmt: skip
def test_a_path_is_taken_as_it_is(name, key, path):
    (word,) = quote_words([f"{key}={path}"])
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(name, overrides=[word])
    assert (config.benchmark.root if "." in key else config[key]) == path


def test_lists_and_references_stay_what_they_are():
    words = ["textures=[/x/Data (1),b]", "out='runs/a_${seed}'", "model.widths=[8,8,8,8]"]
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("train", overrides=quote_words([*words, "checkpoint=null"]))
    assert list(config.textures) == ["/x/Data (1)", "b"] and config.out == "runs/a_0"
    assert config.checkpoint is None and list(config.model.widths) == [8, 8, 8, 8]


@pytest.mark.parametrize("word, right", [
    ("train.learning_rate=1", "train.lr"), ("+train.learning_rate=1", "train.lr"),
    ("learning_rate=1", "train.lr"), ("batch_size=4", "train.batch"), ("epochs=3", "train.steps"),
    ("model.iterations=4", "model.iters"), ("data.n_points=3", "data.points"),
    ("data.seq_len=3", "data.frames"), ("model.window_size=8", "model.window"),
    ("train.max_norm=1", "train.clip"), ("train.num_workers=1", "train.workers"),
    ("output_dir=x", "out"), ("random_seed=1", "seed"), ("dataset=kubric", "data"),
    ("train.val_every=3", "train.evaluate_every"), ("train.resume_ckpt=x", None),
])  # fmt: skip
def test_the_names_of_other_programs_are_answered_with_ours(word, right):
    answer = find_misspelt(FOLDER, "train", [word])
    assert answer.startswith("there is no setting ") and "\n" not in answer
    assert right is None or answer.endswith(f"did you mean {right}?")


def test_every_name_that_is_offered_is_a_setting():
    keys = {"experiment"}
    for name, words in [
        ("train", ["data=kubric"]),
        ("evaluate", []),
        ("generate", []),
        ("generate", ["generator=pseudo"]),
        ("tables/2", []),
    ]:
        with initialize_config_dir(str(FOLDER), version_base="1.3"):
            keys |= set(dotted_keys(OmegaConf.to_container(compose(name, overrides=words))))
    known = keys | {key.rpartition(".")[2] for key in keys}
    assert set(SYNONYMS) <= known


@pytest.mark.slow
@pytest.mark.parametrize("name, words, sentence", [
    ("train", ["train.opt=adam"], "the optimiser is AdamW"),
    ("train", ["data.points=2.5"], "data.points must be a whole number"),
    ("train", ["data.height=64.5"], "data.height must be a whole number"),
    ("train", ["data.noise=2"], "data.noise of Sprites must be a number from 0 to 1"),
    ("train", ["data=scenes3d", "data.fov=[0,400]"], "data.fov of Scenes3D must be two numbers"),
    ("train", ["data.objects=5"], "data.objects must be a list such as [3, 12], not 5"),
    ("train", ["model.channels=0"], "model.channels must be a whole number from 1 to 4096"),
    ("train", ["model.recompute=3"], "model.recompute must be true or false"),
    ("train", ["seed=" + "9" * 5000], "seed must be a whole number"),
    ("train", ["train.lr=nan"], "train.lr must be a number"),
    ("train", ["out="], "out is empty: pass out=DIR"),
    ("train", ["train=null"], "train must be a section"),
    ("train", ["~train.lr"], "a setting cannot be removed"),
    ("train", ["+train.lr=3"], "that setting is there: write train.lr=3"),
    ("train", ["experiment=paper"], "data.root is required: pass data.root=DIR"),
    ("train", ["evaluation.resolution=384"], "resolution must be"),
    ("train", ["evaluation.best=x/aj"], "evaluation.best must be null or BENCHMARK/METRIC"),
    ("train", ["experiment=paper", "data.root=D", "augment.blur.kernel=4"], "an odd number"),
    ("train", ["objective.late_window_prob=1", "data.frames=8"], "at least 1.5 windows, 12 frames"),
    ("train", ["objective.late_window_prob=1", "objective.unrolled=false"], "leaves no batch"),
    ("evaluate", ["benchmark=davis"], "benchmark.root is required"),
    ("evaluate", ["benchmark.root=x", "tracker.iters=0"], "tracker.iters must be a whole number"),
    ("evaluate", ["benchmark.root=x", "tracker=lucas_kanade", "tracker.window=4"], "an odd number"),
    ("evaluate", ["benchmark.root=x", "limit=0"], "limit must be a whole number of at least 1"),
    ("generate", ["count=x"], "count must be a whole number"),
    ("generate", ["images=gif"], "images must be jpg or png"),
    ("tables/2", ["limit=x"], "limit must be a whole number"),
])  # fmt: skip
def test_a_value_that_cannot_be_is_one_sentence(name, words, sentence):
    answer = find_problem(FOLDER, name, quote_words(words))
    assert sentence in answer and "\n" not in answer


def test_the_paper_without_its_augmentation_can_be_said():
    words = ["experiment=paper", "augment=none", "data.root=D"]
    assert find_problem(FOLDER, "train", words) is None
    sizes = []
    for line in (words, [words[0], words[2]]):
        with initialize_config_dir(str(FOLDER), version_base="1.3"):
            data = compose("train", overrides=line).data
        sizes.append((data.height, data.width, data.points))
    assert sizes == [(384, 512, 256), (None, None, None)]


@pytest.mark.parametrize("words, sentence", [
    (["model.window=4,8,7", "seed=0,1", "out='r/${model.window}_${seed}'"],
     "model.window must be an even number of frames, not 7 (in the run"),
    (["seed=0,1"], "2 runs of this sweep have out=runs/default"),
    (["seed=range(0,200)", "model.window=range(0,200)"], "more than 10000 runs"),
])  # fmt: skip
def test_every_run_of_a_sweep_is_checked_before_the_first(words, sentence):
    assert sentence in find_problem(FOLDER, "train", quote_words(words, True), sweeping=True)


def test_a_run_of_a_sweep_is_what_hydra_would_compose():
    words = ["experiment=smoke", "model.widths=[8,8,8,8]", "train.lr=1e-4", "seed=0", "out=a b"]
    other = ["experiment=smoke", "model.widths=[4,4,4,4]", "train.lr=1e-3", "seed=3", "out=c,d"]
    with initialize_config_dir(str(FOLDER), version_base=None):
        first, second = (compose("train", overrides=quote_words(one)) for one in (words, other))
        varied = _vary(quote_words(words), first, quote_words(other))
    assert varied == second != first
    assert _vary(["+a=1"], first, ["+a=2"]) is None


def test_a_sweep_over_folders_of_any_name_is_read():
    words = quote_words(["seed=0,1", "textures=/x/Data (1),b", "out='r/${seed}_${textures}'"], True)
    assert find_problem(FOLDER, "train", words, sweeping=True) is None


@pytest.mark.parametrize("name, words, sentence", [
    ("train", ["objective.drift_prob=0.5"], "objective.drift_prob has no effect"),
    ("train", ["data=kubric", "data.root=D", "textures=x"], "textures has no effect"),
    ("train", ["evaluation.iters=3"], "evaluation.iters has no effect: train.evaluate_every is 0"),
    ("evaluate", ["benchmark.root=x", "tracker=static", "checkpoint=x"],
     "checkpoint has no effect"),
    ("generate", ["images=png", "quality=50"], "quality has no effect: images is png"),
])  # fmt: skip
def test_a_setting_without_effect_is_said(name, words, sentence, capsys):
    assert find_problem(FOLDER, name, words) is None
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_foreign_flags_are_answered_and_hydras_own_are_not():
    for flag in ("--config-name=foo", "--lr=3", "-x"):
        assert "settings are written key=value" in foreign_flag([flag])
    assert foreign_flag(["--help", "-m", "--cfg=job", "train.lr=3"]) is None


@pytest.mark.parametrize("program, word", [
    ("train.py", "evaluation.best=x/aj"), ("evaluate.py", "benchmark.root=x tracker.iters=0"),
    ("scripts/generate.py", "generator.noise=2"),
])  # fmt: skip
def test_a_wrong_word_is_answered_before_pytorch_is_imported(program, word):
    """Its own CPU time is about half a second; a third of PyTorch's import."""
    code = (
        "import json, os, runpy, sys\n"
        f"sys.argv = [{program!r}, *{word!r}.split()]\n"
        f"try:\n    runpy.run_path({program!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(json.dumps([end.code, 'torch' in sys.modules, sum(os.times()[:2])]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    code, loaded, seconds = json.loads(done.stdout)
    assert code == 2 and not loaded and done.stderr.count("\n") == 1
    assert seconds < 2  # on a busy machine; 0.5 alone
