"""Textures: photographs read once and never written, patterns with contrast, wrong folders."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.textures import (
    Textures,
    load_photograph,
    sample_dead_leaves,
    sample_fractal_noise,
    sample_stripes,
    sample_text,
    sample_tiles,
)

TEXTURES = Path(__file__).parents[4] / "shared" / "data" / "textures"


def test_every_pattern_has_contrast_and_its_size():
    for sample in (
        sample_fractal_noise,
        sample_dead_leaves,
        sample_stripes,
        sample_tiles,
        sample_text,
    ):
        for seed in range(4):
            image = sample(np.random.default_rng(seed), 61, 83)
            assert image.shape == (61, 83, 3) and image.dtype == np.uint8
            assert image.std(axis=(0, 1)).max() > 4, sample.__name__


def test_photographs_are_read_once_shrunk_and_never_written(tmp_path):
    truth = np.random.default_rng(0).integers(0, 256, (30, 1500, 3)).astype(np.uint8)
    truth[:, :, 0] = 255
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), truth[..., ::-1])
    textures = Textures(tmp_path, procedural=0.0)
    levels = load_photograph(str(tmp_path / "deep" / "a.png"))
    assert levels[0].shape == (20, 1024, 3) and (levels[0][..., 0] == 255).all()
    assert levels[0] is load_photograph(str(tmp_path / "deep" / "a.png"))[0]
    before = levels[0].copy()
    for seed in range(5):
        assert textures.sample(np.random.default_rng(seed), 50, 70).shape == (50, 70, 3)
    assert np.array_equal(levels[0], before) and not levels[0].flags.writeable


def test_folders_without_photographs_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Textures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{tmp_path.name} holds no jpg or png"):
        Textures([str(tmp_path)])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="broken.jpg cannot be read"):
        Textures(tmp_path, procedural=0.0).sample(np.random.default_rng(0), 8, 8)


def test_plain_crops_are_mostly_drawn_again(tmp_path):
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((90, 120, 3), 200, np.uint8))
    cv2.imwrite(
        str(tmp_path / "rich.png"),
        np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8),
    )
    textures = Textures(tmp_path, procedural=0.0)
    plain = [
        textures.sample(np.random.default_rng(seed), 40, 40).std(axis=(0, 1)).max() < 2
        for seed in range(100)
    ]
    assert 0 < np.mean(plain) < 0.25


@pytest.mark.skipif(not TEXTURES.is_dir(), reason="needs the photographs of shared/data/textures")
def test_photographs_make_clips():
    source = Sprites(4, 64, 96, 16, textures=str(TEXTURES), procedural=0.0)
    clip = source.clip(np.random.default_rng(0))
    assert clip.video.float().std() > 10
