"""Splits without leaks: similar structures form a group, and each group has one role."""

from scalewise.data.readers import hash_file
from scalewise.data.split_settings import SplitSettings
from scalewise.data.splits.dealing import (
    LARGE_GROUP,
    Division,
    deal_groups,
    divide_large,
    say_untrained,
    untrained_elements,
)
from scalewise.data.splits.identity import DataFile, identify
from scalewise.data.splits.making import make_split
from scalewise.data.splits.nested import SPARE, reduced
from scalewise.data.splits.reading import find_roles, read_groups, read_key, read_roles
from scalewise.data.splits.split import ROLES, Split
from scalewise.data.splits.time import follows_time
from scalewise.data.splits.trajectories import LEFT_OUT, by_group, by_trajectory

__all__ = [
    "LARGE_GROUP",
    "LEFT_OUT",
    "ROLES",
    "SPARE",
    "DataFile",
    "Division",
    "Split",
    "SplitSettings",
    "by_group",
    "by_trajectory",
    "deal_groups",
    "divide_large",
    "find_roles",
    "follows_time",
    "hash_file",
    "identify",
    "make_split",
    "read_groups",
    "read_key",
    "read_roles",
    "reduced",
    "say_untrained",
    "untrained_elements",
]
