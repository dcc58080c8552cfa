"""The licence of weights: the strictest of all that they were made of."""

import json
from types import SimpleNamespace

import generate
import pytest
import torch

from cotracker import checkpoint
from cotracker.config.stream import find_teachers
from cotracker.data.kubric.manifest import read_manifest
from cotracker.provenance import strictest_licence
from cotracker.training.progress import Progress
from cotracker.training.state import make_card, source_names

NC, SA = "CC-BY-NC 4.0 (published weights)", "CC BY-SA 4.0"
CPU = torch.device("cpu")
KUBRIC = {"_target_": "cotracker.data.kubric.Kubric"}
SETTINGS = {
    "card": {"licence": "MIT", "data": None},
    "data": KUBRIC | {"root": "d", "textures": ["a", "b"]},
    "objective": {"confidence_weight": 0.0},
    "train": {"precision": "float32"},
}


@pytest.mark.parametrize("licences, strictest", [
    (["MIT", NC], NC), (["MIT", None, "Apache-2.0"], "MIT"), (["MIT", SA, NC], f"{SA} and {NC}"),
    (["MIT", "CC0"], "MIT"), (["MIT", "GPL-3.0"], "GPL-3.0"), (["MIT", "unknown"], "unknown"),
])  # fmt: skip
def test_the_strictest_licence_of_all(licences, strictest):
    assert strictest_licence(licences) == strictest


def test_a_card_has_the_licences_of_its_parents_and_names_photographs():
    assert make_card(SETTINGS, Progress(), CPU)["licence"] == "MIT"
    assert make_card(SETTINGS, Progress(init_from={"licence": NC}), CPU)["licence"] == NC
    assert make_card(SETTINGS, Progress(init_from={"hash": "x"}), CPU)["licence"] == "unknown"
    taught = make_card(SETTINGS, Progress(teachers={"h": {"name": "t", "licence": NC}}), CPU)
    assert taught["licence"] == NC and taught["teachers"] == [{"name": "t", "licence": NC}]
    names = ["Kubric of d", "photographs of a", "photographs of b"]
    assert source_names(SETTINGS["data"]) == names


def test_the_teacher_of_a_folder_is_found_wherever_the_folder_is(tmp_path):
    teacher = {"name": "t", "hash": "h", "licence": NC}
    record = {"commits": [], "clips": [], "teacher": teacher}
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    folder = KUBRIC | {"root": str(tmp_path)}
    augmented = {"_target_": "x.Augmented", "source": folder}
    mixture = {"_target_": "x.Mixture", "sources": [{"_target_": "x.Sprites"}, augmented]}
    for data in (folder, augmented, mixture):
        assert find_teachers(data) == {"h": teacher}
    assert find_teachers(KUBRIC | {"root": str(tmp_path / "none")}) == {}
    (tmp_path / "manifest.json").write_text(json.dumps(record | {"teacher": 3}))
    with pytest.raises(ValueError, match="is no manifest of clips"):
        read_manifest(tmp_path)


def test_generated_labels_name_the_checkpoint_that_made_them():
    node = {"tracker": {"name_or_path": None}}
    card = checkpoint.read_card(checkpoint.find(checkpoint.SHIPPED))
    for found, licence in (({"name": "n", "hash": "h"}, card["licence"]),
                           ({"name": "n", "hash": "h", "licence": NC}, NC)):  # fmt: skip
        tracker = SimpleNamespace(describe=lambda found=found: {"checkpoint": found})
        teacher = generate.describe_teacher(SimpleNamespace(tracker=tracker), node)["teacher"]
        assert teacher == {"name": "n", "hash": "h", "licence": licence}
    assert generate.describe_teacher(SimpleNamespace(), {}) == {}
