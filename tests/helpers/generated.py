"""Settings of scripts/generate.py."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]


def settings(*overrides) -> dict:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("generate", overrides=["generator=sprites", "workers=0", *overrides])
    return {
        key: value
        for key, value in OmegaConf.to_container(config, resolve=True).items()
        if key != "hydra"
    }
