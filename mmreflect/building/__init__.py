"""Building a dataset: what a leaf makes, row by row, becomes shards, media, rejects and a manifest."""

from mmreflect.building.builder import Builder, Made, Maker, Rejected, Workers
from mmreflect.building.examples import Example
from mmreflect.building.options import BuildOptions
from mmreflect.building.running import build, plan
from mmreflect.building.shards import ARRIVING, make_shard

__all__ = [
    "ARRIVING",
    "BuildOptions",
    "Builder",
    "Example",
    "Made",
    "Maker",
    "Rejected",
    "Workers",
    "build",
    "make_shard",
    "plan",
]
