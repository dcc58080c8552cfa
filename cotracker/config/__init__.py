"""Configs: command lines checked, nodes made objects; ${unless_augmented:VALUE} for their files."""

from omegaconf import DictConfig, OmegaConf


def _unless_augmented(value: object, *, _root_: DictConfig) -> object:
    """The value, or None where augment=… crops the frames and chooses the points itself."""
    augment = _root_.get("augment")
    target = augment.get("_target_") if isinstance(augment, DictConfig) else None
    return None if target == "cotracker.data.augment.AugmentConfig" else value


OmegaConf.register_new_resolver("unless_augmented", _unless_augmented, replace=True)
