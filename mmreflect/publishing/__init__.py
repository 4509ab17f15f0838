"""A dataset for others: its card, its rows in the layouts of other trainers, and its way to the Hub."""

from mmreflect.publishing.exporting import export_dataset
from mmreflect.publishing.pushing import push

__all__ = ["export_dataset", "push"]
