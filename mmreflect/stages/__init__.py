"""Stages, one file each: from groups to groups, between rollout and advantage."""

from collections.abc import Sequence
from typing import Protocol

from mmreflect.records import Group
from mmreflect.rollouts.tools import Tools


class Stage(Protocol):
    """Changes scored groups; what it changes it scores again."""

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Return the groups that go on."""
