"""Configs and code cannot drift: every file composes, names only real fields, and shows the code's own defaults."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from cotracker.model.cotracker import CoTracker
from cotracker.overrides import misspelt
from cotracker.trackers.tracker import Tracker
from cotracker.training.objective import Objective

FOLDER = Path(__file__).parents[1] / "configs"
ENTRY = {"model": "train", "data": "train", "augment": "train", "objective": "train", "experiment": "train",
         "tracker": "evaluate", "benchmark": "evaluate", "generator": "generate"}  # fmt: skip
CHOICES = sorted((path.parent.name, path.stem) for path in FOLDER.glob("*/*.yaml"))
BUILT = [(group, name) for group, name in CHOICES if group != "experiment"]
WITH_DEFAULTS = [("model", "cotracker"), ("data", "sprites"), ("data", "scenes3d"), ("objective", "paper"),
                 ("augment", "published"), *(choice for choice in CHOICES if choice[0] == "tracker")]  # fmt: skip
WITH_FILES = [("tracker", "cotracker"), ("data", "kubric"), ("data", "kubric_and_sprites")]
NO_FILES = [choice for choice in BUILT if choice[0] != "benchmark" and choice not in WITH_FILES]


def composed(name: str, *overrides: str) -> dict:
    """The resolved config as plain values; the folder that evaluate.py must be given is "somewhere"."""
    drawn = any(override.startswith("benchmark=") and override.endswith("_val") for override in overrides)
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
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def fields(node: dict) -> dict:
    return {k: v for k, v in node.items() if k not in ("_target_", "_convert_", "_partial_", "name")}


def arguments(built) -> dict:
    """Name -> default of everything it may be given by name."""
    given = inspect.signature(built).parameters.values()
    return {p.name: plain(p.default) for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def test_every_group_is_known():
    assert {group for group, _ in CHOICES} <= set(ENTRY) and len(CHOICES) >= 10
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {"train", "evaluate", "generate"}


@pytest.mark.parametrize("group, name", CHOICES)
def test_every_file_composes(group, name):
    config = composed(ENTRY[group], f"{group}={name}")
    if group != "experiment":
        assert config[group]


@pytest.mark.parametrize("group, name", BUILT)
def test_no_file_names_an_unknown_field(group, name):
    found = list(targets(composed(ENTRY[group], f"{group}={name}")[group]))
    assert found
    for node, built in found:
        assert set(fields(node)) <= set(arguments(built)), f"{group}/{name}.yaml names fields that {built} has not"


@pytest.mark.parametrize("group, name", WITH_DEFAULTS)
def test_defaults_are_all_listed_and_equal_those_in_the_code(group, name):
    ((node, built),) = targets(composed(ENTRY[group], f"{group}={name}")[group])
    assert {key: plain(value) for key, value in fields(node).items()} == arguments(built)


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "model"])
def test_every_model_lists_every_field(name):
    node = composed("train", f"model={name}")["model"]
    assert list(fields(node)) == list(arguments(CoTracker))


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "experiment"])
def test_an_experiment_changes_only_what_there_is(name):
    """Hydra checks only the command line; a misspelt key in an experiment would be quietly added."""
    raw = OmegaConf.to_container(OmegaConf.load(FOLDER / "experiment" / f"{name}.yaml"))
    groups = [f"{key.removeprefix('override /')}={value}" for d in raw.pop("defaults", []) for key, value in d.items()]
    base = composed("train", *groups)

    def check(said, known, at):
        for key, value in said.items():
            assert key in known, f"experiment/{name}.yaml sets {at}{key}, which does not exist"
            if isinstance(value, dict):
                check(value, known[key], f"{at}{key}.")

    check(raw, base, "")
    whole = composed("train", f"experiment={name}")
    assert whole["out"] == raw["out"] and whole["train"]["steps"] == raw["train"]["steps"]


@pytest.mark.parametrize("group, name", NO_FILES)
def test_what_needs_no_files_is_built(group, name):
    small = ["model.channels=8", "model.widths=[8,8,8,8]", "model.hidden=32"] if group == "model" else []
    config = composed(ENTRY[group], f"{group}={name}", *small)
    node = {key: value for key, value in config[group].items() if group != "tracker" or key != "name"}
    built = instantiate(node)
    if group == "tracker":
        assert isinstance(built, Tracker)
    elif group in ("data", "generator"):
        assert callable(getattr(built, "clip", None) or built.source_of)
    elif group == "augment":
        assert (built is None) if name == "none" else callable(built)
    else:
        assert isinstance(built, CoTracker if group == "model" else Objective)


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "benchmark"])
def test_a_benchmark_says_what_it_is_made_of(name):
    node = composed("evaluate", f"benchmark={name}")["benchmark"]
    assert node["name"] == name and node["clips"].get("root", "somewhere") == "somewhere"
    assert callable(get_object(node["protocol"])) and callable(get_object(node["metric"]))


def test_overrides_reach_the_model():
    small = ["model.channels=8", "model.widths=[8,8,8,8]", "model.hidden=32"]
    model = instantiate(composed("train", "model.stride=8", "model.window=16", *small)["model"])
    assert (model.stride, model.window) == (8, 16)
    assert model.config["widths"] == [8, 8, 8, 8] and model.config["radius"] == 4


@pytest.mark.parametrize("argument, right", [
    ("model.strid=8", "model.stride"), ("model.windw=16", "model.window"), ("train.stepps=3", "train.steps"),
    ("steps=3", "train.steps"), ("objective.gama=0.9", "objective.gamma"), ("modell=cotracker", "model"),
    ("model=cotraker", "model=cotracker"), ("data=sprite", "data=sprites"), ("experiment=smok", "experiment=smoke"),
])  # fmt: skip
def test_a_misspelt_key_names_the_right_one(argument, right):
    answer = misspelt(FOLDER, "train", [argument])
    assert f"did you mean {right}?" in answer
    assert argument.split("=")[0] in answer and "\n" not in answer


def test_right_words_are_not_called_misspelt():
    assert misspelt(FOLDER, "train", ["model.stride=8", "model.window=16", "experiment=smoke", "train.steps=2"]) is None
    assert misspelt(FOLDER, "evaluate", ["tracker=static", "benchmark.root=x", "out=y"]) is None
