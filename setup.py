"""What pyproject.toml cannot say: the wheel carries configs/ and checkpoints/ in the package."""

from setuptools import find_packages, setup

CARRIED = {"cotracker.configs": "configs", "cotracker.checkpoints": "checkpoints"}

setup(
    packages=[*find_packages(include=["cotracker*"]), *CARRIED],
    package_dir=CARRIED,
    package_data={
        "cotracker.configs": ["**/*.yaml"],
        "cotracker.checkpoints": ["cotracker_small.safetensors", "generation2.safetensors"],
    },
)
