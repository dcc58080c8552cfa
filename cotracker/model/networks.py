"""The networks by name."""

from torch import nn

from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.pips import PIPs
from cotracker.model.raft import RAFT

NETWORKS = {"cotracker": CoTracker, "cotracker3": CoTracker3, "pips": PIPs, "raft": RAFT}


def network_name(model: nn.Module) -> str:
    """The name in NETWORKS of a network's class."""
    return next(name for name, network in NETWORKS.items() if type(model) is network)


def build_network(name: str, config: dict) -> nn.Module:
    """The network of this name with these fields; ValueError for a name not in NETWORKS."""
    if name not in NETWORKS:
        raise ValueError(f"the network must be one of {', '.join(NETWORKS)}, not {name!r}")
    return NETWORKS[name](**config)
