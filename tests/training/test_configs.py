"""Every config composes, names only real fields, and shows the code's own defaults."""

import inspect
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from cotracker import checkpoint
from cotracker.baselines.registry import LEARNED
from cotracker.config.overrides import find_misspelt
from cotracker.data.kubric.layout import write_clip
from cotracker.data.synthetic.sprites import Sprites
from cotracker.model.config import CoTracker3Config, CoTrackerConfig
from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.pips import PIPs, PIPsConfig
from cotracker.model.raft import RAFT, RAFTConfig
from cotracker.model.windowed import WindowedNetwork
from cotracker.trackers.tracker import Tracker
from cotracker.training.config import CheckpointConfig, ObjectiveConfig, TrainConfig
from train import run

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "configs"
ENTRY = {
    "model": "train",
    "data": "train",
    "augment": "train",
    "objective": "train",
    "experiment": "train",
    "cluster": "train",
    "tracker": "evaluate",
    "benchmark": "evaluate",
    "generator": "generate",
}
GROUPS = [
    folder
    for folder in FOLDER.glob("*")
    if folder.is_dir() and folder.name not in ("tables", "figures")
]
CHOICES = sorted(
    (folder.name, str(path.relative_to(folder).with_suffix("")))
    for folder in GROUPS
    for path in folder.rglob("*.yaml")
)  # configs/tables and configs/figures are no groups: tests/benchmarks/test_suite.py
NEEDS_WEIGHTS = ("table6_dinov2",)  # which are not shipped
EXPERIMENTS = [name for group, name in CHOICES if group == "experiment"]
CONFIGS_OF = {
    CoTracker: CoTrackerConfig,
    CoTracker3: CoTracker3Config,
    PIPs: PIPsConfig,
    RAFT: RAFTConfig,
}
GLOBAL = ("experiment", "cluster")  # groups that set what stands elsewhere
BUILT = [(group, name) for group, name in CHOICES if group not in GLOBAL]
WITH_DEFAULTS = [
    ("model", "cotracker"),
    ("model", "cotracker3_online"),
    ("model", "pips"),
    ("model", "raft"),
    ("data", "sprites"),
    ("data", "scenes3d"),
    ("objective", "paper"),
    ("augment", "paper"),
    ("tracker", "dis_flow"),
    ("tracker", "lucas_kanade"),
    ("tracker", "static"),
]  # tests/trackers/test_options.py holds the tracker cotracker
WITH_FILES = [
    ("tracker", "cotracker"),
    *(("tracker", name) for name in LEARNED),
    ("data", "kubric"),
    ("data", "kubric_and_sprites"),
    ("data", "labelled"),
    ("tracker", "predictions"),
    ("data", "shipped/second"),
    ("data", "shipped/self_training"),
    ("data", "shipped/real_drawn_spatial"),
    ("data", "shipped/visibility"),
    ("data", "shipped/gpu"),
    ("data", "shipped/walking"),
    ("generator", "pseudo"),
]
# the paper's evaluation tracks each point alone; a video of one's own is tracked jointly
PROTOCOL = {("tracker", "cotracker"): {"single_point": True, "local_support_grid": 6}}
NO_FILES = [choice for choice in BUILT if choice[0] != "benchmark" and choice not in WITH_FILES]


def composed(name: str, *overrides: str) -> dict:
    """The resolved config as plain values; what evaluate.py must be given is "somewhere"."""
    drawn = any(
        override.startswith("benchmark=") and override.endswith("_val") for override in overrides
    )
    needed = ["benchmark.root=somewhere"] if name == "evaluate" and not drawn else []
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(name, overrides=[*needed, *overrides])
    return OmegaConf.to_container(config, resolve=True)


def targets(node):
    """Every node with a _target_, and what it names."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node, get_object(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from targets(value)


def plain(value):
    if is_dataclass(value):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def fields(node: dict) -> dict:
    return {
        k: v for k, v in node.items() if k not in ("_target_", "_convert_", "_partial_", "name")
    }


def arguments(built) -> dict:
    """Name -> default of everything it may be given by name; of a network, its config's fields."""
    built = CONFIGS_OF.get(built, built)
    given = inspect.signature(built).parameters.values()
    return {
        p.name: plain(p.default) for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def test_every_group_is_known():
    assert {group for group, _ in CHOICES} <= set(ENTRY) and len(CHOICES) >= 10
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {"train", "evaluate", "generate"}


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "cluster"])
def test_every_cluster_composes(name):
    """Files of other groups compose below, where more is asked of them."""
    assert composed("train", f"cluster={name}")["train"] == composed("train")["train"]


@pytest.mark.parametrize("group, name", BUILT)
def test_no_file_names_an_unknown_field(group, name):
    found = list(targets(composed(ENTRY[group], f"{group}={name}")[group]))
    assert found
    for node, built in found:
        assert set(fields(node)) <= set(arguments(built)), (
            f"{group}/{name}.yaml names fields that {built} has not"
        )


@pytest.mark.parametrize("group, name", WITH_DEFAULTS)
def test_defaults_are_all_listed_and_equal_those_in_the_code(group, name):
    ((node, built),) = targets(composed(ENTRY[group], f"{group}={name}")[group])
    expected = arguments(built) | PROTOCOL.get((group, name), {})
    assert {key: plain(value) for key, value in fields(node).items()} == expected


def test_the_settings_of_a_run_are_all_listed_and_equal_those_in_the_code():
    config = composed("train")
    assert config["train"] == asdict(TrainConfig())
    assert config["checkpoint"] == asdict(CheckpointConfig())


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "model"])
def test_every_model_lists_every_field(name):
    ((node, built),) = targets(composed("train", f"model={name}")["model"])
    assert list(fields(node)) == list(arguments(built))


@pytest.mark.parametrize(
    "name", [name for group, name in CHOICES if group == "model" and name not in ("pips", "raft")]
)  # these two: by their small experiments, tests/baselines
def test_every_model_takes_two_steps(name, tmp_path):
    small = ["channels=8", "widths=[8,8,8,8]", "fuse_width=8", "hidden=16", "heads=2", "levels=2"]
    words = [f"model.{word}" for word in small] + ["train.steps=2", "train.batch=2"]
    if "3" in name:
        words += ["model.corr_hidden=8", "model.corr_channels=8", "model.virtual_tracks=3"]
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        overrides = ["experiment=smoke", f"model={name}", *words, f"out={tmp_path}"]
        config = compose("train", overrides=overrides)
    threads = torch.get_num_threads()
    run(config)
    torch.set_num_threads(threads)
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and all(step["not_finite"] == 0 for step in steps)
    model = checkpoint.load_model(tmp_path / "model.safetensors")
    assert type(model) is get_object(composed("train", f"model={name}")["model"]["_target_"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_changes_only_what_there_is(name):
    """Hydra checks only the command line; a misspelt key in an experiment would be added."""
    raw = OmegaConf.to_container(OmegaConf.load(FOLDER / "experiment" / f"{name}.yaml"))
    groups = []
    for default in raw.pop("defaults", []):
        if isinstance(default, dict):
            groups += [
                f"{key.removeprefix('override /')}={value}" for key, value in default.items()
            ]
        elif default != "_self_":
            groups.append(f"experiment={default.removeprefix('/experiment/')}")
    base = composed("train", *groups)

    def check(said, known, at):
        for key, value in said.items():
            assert key in known, f"experiment/{name}.yaml sets {at}{key}, which does not exist"
            if isinstance(value, dict):
                check(value, known[key], f"{at}{key}.")

    check(raw, base, "")
    whole = composed("train", f"experiment={name}")
    assert (
        whole["out"]
        and "$" not in whole["out"]
        and whole["train"]["steps"] == raw["train"]["steps"]
    )
    assert "$" in raw["out"] or whole["out"] == raw["out"]


def test_no_two_experiments_share_a_folder():
    rows = [(name, []) for name in EXPERIMENTS]
    rows += [
        (name, [f"model.window={window}"])
        for name in ("table8", "table8_small")
        for window in (4, 16)
    ]
    outs = [composed("train", f"experiment={name}", *overrides)["out"] for name, overrides in rows]
    assert len(set(outs)) == len(outs)


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if name.startswith(("paper", "table"))]
)
def test_the_head_of_a_paper_experiment_names_its_table_command_and_numbers(name):
    text = (FOLDER / "experiment" / f"{name}.yaml").read_text()
    assert f"experiment={name}" in text
    kind, _, table = composed("train", f"experiment={name}")["evaluate_with"].partition("=")
    assert kind == "table" and (FOLDER / "tables" / f"{table.split()[0]}.yaml").is_file()
    if name.endswith("_small"):
        assert f"experiment={name.removesuffix('_small')} " in text
    else:
        for words in (
            "able",
            "torchrun --nnodes 4",
            "cluster=slurm_4x8",
            "accumulate=4",
            "V100",
            "hours",
            "Expected",
        ):
            assert words in text


@pytest.mark.parametrize("name, changed", [
    ("table1_time_only", {"model.time_layers": 12, "model.group_layers": 0}), ("table4", {}),
    ("table5", {"objective.unrolled": False}), ("table7", {"model.stride": 8, "model.window": 16}),
    ("table8", {}),
])  # fmt: skip
def test_a_row_of_a_table_differs_from_the_paper_model_in_its_ablation_alone(name, changed):
    def flat(node, at=""):
        return {
            k: v
            for key, value in node.items()
            for k, v in (
                flat(value, f"{at}{key}.") if isinstance(value, dict) else {at + key: value}
            ).items()
        }

    row, paper = (
        flat(composed("train", f"experiment={name}")),
        flat(composed("train", "experiment=paper")),
    )
    assert {
        key: value
        for key, value in row.items()
        if paper[key] != value and key not in ("out", "evaluate_with")
    } == changed
    kinds = (name.replace("table4", "paper"), "paper")
    small, base = (flat(composed("train", f"experiment={kind}_small")) for kind in kinds)
    halves = {"model.time_layers": 4, "model.group_layers": 0}
    expected = halves if name == "table1_time_only" else changed
    assert {
        key: value
        for key, value in small.items()
        if base[key] != value and key not in ("out", "evaluate_with")
    } == expected


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of two clips in Kubric's layout, large enough for a small augmented crop."""
    root = tmp_path_factory.mktemp("kubric")
    for seed in range(2):
        clip = Sprites(frames=24, height=64, width=64, points=128).clip(np.random.default_rng(seed))
        write_clip(root, f"{seed:04d}", clip)
    return root


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in NEEDS_WEIGHTS])
def test_an_experiment_takes_two_steps(name, clips, tmp_path):
    """What an experiment is about stays; frames, points and the network's widths are tiny."""
    whole = composed("train", f"experiment={name}")
    small = [
        "model.channels=8",
        "model.widths=[8,8,8,8]",
        "model.fuse_width=8",
        "model.hidden=16",
        "model.heads=2",
        "model.levels=2",
        "model.motion_waves=4",
        "train.steps=2",
        "train.save_every=2",
        "train.workers=0",
        "train.batch=1",
        "train.threads=1",
        "train.device=cpu",
        "train.evaluate_every=0",
        "train.cuda_graphs=false",
    ]
    known = [f"model.{field}" for field in whole["model"]]
    small = [one for one in small if one[:6] != "model." or one.partition("=")[0] in known]
    data = whole["data"]
    for k, source in enumerate(data.get("sources", [data])):
        at = f"data.sources.{k}" if "sources" in data else "data"
        if "augment" in source:
            small += [f"{at}.source.root={clips}", f"{at}.source.frames=24"]
            small += [
                f"{at}.augment.{key}"
                for key in ("crop.height=32", "crop.width=48", "points.count=8", "points.least=2")
            ]
        elif "root" in source:
            small += [f"{at}.root={clips}", f"{at}.frames=24"]
            augmented = "crop" in whole["augment"]
            small += [
                f"augment.{key}"
                for key in ("crop.height=32", "crop.width=32", "points.count=8")
                if augmented
            ]
            small += [
                f"{at}.{key}" for key in ("height=32", "width=48", "points=8") if not augmented
            ]
        else:
            sides = (128, 128) if "raft" in whole["model"]["_target_"] else (32, 48)  # its least
            small += [f"{at}.height={sides[0]}", f"{at}.width={sides[1]}", f"{at}.points=8"]
            small += [f"{at}.crop=[24,32]"] if source.get("crop") else []
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("train", overrides=[f"experiment={name}", *small, f"out={tmp_path}"])
    threads = torch.get_num_threads()
    run(config)
    torch.set_num_threads(threads)
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and all(
        np.isfinite(step["loss"]) and step["not_finite"] == 0 for step in steps
    )
    model = checkpoint.load_model(tmp_path / "model.safetensors").config
    names = {"neighbourhood", "radius", "query_radius", "time_code", "track_feat"}
    own = names & set(whole["model"])
    own |= {"stride", "window", "time_layers", "group_layers", "layers"} & set(whole["model"])
    for field in sorted(own):
        assert getattr(model, field) == whole["model"][field]


@pytest.mark.parametrize("group, name", NO_FILES)
def test_what_needs_no_files_is_built(group, name):
    small = (
        ["model.channels=8", "model.widths=[8,8,8,8]", "model.hidden=32"]
        if group == "model" and name != "raft"
        else []
    )
    config = composed(ENTRY[group], f"{group}={name}", *small)
    node = {
        key: value for key, value in config[group].items() if group != "tracker" or key != "name"
    }
    built = instantiate(node)
    if group == "tracker":
        assert isinstance(built, Tracker)
    elif group in ("data", "generator"):
        assert callable(getattr(built, "clip", None) or built.source_of)
    elif group == "augment":
        assert (built is None) if name == "none" else callable(built)
    else:
        assert isinstance(built, (WindowedNetwork, RAFT) if group == "model" else ObjectiveConfig)


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "benchmark"])
def test_a_benchmark_says_what_it_is_made_of(name):
    node = composed("evaluate", f"benchmark={name}")["benchmark"]
    assert node["name"] == name and node["clips"].get("root", "somewhere") == "somewhere"
    assert callable(get_object(node["protocol"])) and callable(get_object(node["metric"]))


def test_overrides_reach_the_model():
    small = ["model.channels=8", "model.widths=[8,8,8,8]", "model.hidden=32"]
    model = instantiate(composed("train", "model.stride=8", "model.window=16", *small)["model"])
    assert (model.stride, model.window) == (8, 16)
    assert model.config.widths == (8, 8, 8, 8) and model.config.radius == 4


@pytest.mark.parametrize("words, right", [
    (["model.strid=8"], "there is no setting model.strid: did you mean model.stride?"),
    (["steps=3"], "there is no setting steps: did you mean train.steps?"),
    (["train.opt=adam"], "there is no setting train.opt"),  # nothing is like it
    (["data=sprite"], "there is no data=sprite: did you mean data=sprites?"),
    (["data=walkin"], "there is no data=walkin: did you mean data=shipped/walking?"),
    (["model=null"], "there is no model=null; there are cotracker"),
    (["=3"], "cannot read '=3': write key=value, in quotes where it has spaces"),
    (["data=kubric_and_sprites", "data.root=x"], "did you mean data.sources.0.source.root?"),
    (["data=shipped/walking", "data.sources.2.frames=3"],
     "did you mean data.sources.2.source.frames?"),
    (["data=shipped/walking", "data.weight.0=3"], "did you mean data.weights.0?"),
    (["data=sprites", "data.crop.0=3"], "did you mean data.crop?"),
])  # fmt: skip
def test_a_misspelt_word_is_one_sentence_that_names_the_right_one(words, right):
    answer = find_misspelt(FOLDER, "train", words)
    assert right in answer and "\n" not in answer
    assert "did you mean" in right or "did you mean" not in answer


def test_right_words_are_not_called_misspelt():
    assert (
        find_misspelt(
            FOLDER,
            "train",
            ["model.stride=8", "model.window=16", "experiment=smoke", "train.steps=2"],
        )
        is None
    )
    assert (
        find_misspelt(FOLDER, "evaluate", ["tracker=static", "benchmark.root=x", "out=y"]) is None
    )
