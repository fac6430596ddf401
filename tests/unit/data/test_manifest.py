"""Splits on disk: bound to one file, refused for any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalewise.core.errors import InputError
from scalewise.data.manifest import (
    DataFile,
    SplitManifest,
    hash_file,
    read_manifest,
    write_manifest,
)
from scalewise.doctor.split import deal_groups

ROLES = ("train", "ood", "test", "train")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dft.xyz"
    path.write_text("four frames")
    return path


@pytest.fixture
def written(data: Path) -> Path:
    file = DataFile(file=data.name, sha256=hash_file(data), frames=4)
    path = data.with_name("split.json")
    write_manifest(path, SplitManifest(data=file, role=ROLES, group=(0, 1, 2, 0)))
    return path


def test_what_was_written_comes_back(data: Path, written: Path) -> None:
    split = read_manifest(written, data=data, frames=4)
    assert split.role == ROLES
    assert split.roles == ("train", "test", "ood")
    np.testing.assert_array_equal(split.members("train"), [0, 3])
    assert split.leaking_groups() == ()


def test_a_group_in_two_roles_is_named() -> None:
    file = DataFile(file="a.xyz", sha256=64 * "0", frames=4)
    assert SplitManifest(data=file, role=ROLES, group=(0, 5, 5, 0)).leaking_groups() == (5,)


def test_another_content_is_refused(data: Path, written: Path) -> None:
    data.write_text("four other frames")
    with pytest.raises(InputError, match=r"split\.json: made for dft\.xyz with SHA-256 .* has "):
        read_manifest(written, data=data, frames=4)


def test_another_number_of_frames_is_refused(data: Path, written: Path) -> None:
    with pytest.raises(InputError, match=r"made for 4 frames of dft\.xyz, but .* has 3"):
        read_manifest(written, data=data, frames=3)


def test_a_missing_role_is_named(data: Path, written: Path) -> None:
    split = read_manifest(written, data=data, frames=4)
    with pytest.raises(InputError, match=r"no frame has the role 'tran'.*Did you mean 'train'"):
        split.members("tran")


def test_damage_is_refused(data: Path, written: Path) -> None:
    content = json.loads(written.read_text())
    for damage, message in (
        ("{ half", "not a split manifest"),
        (json.dumps({**content, "role": ["train"]}), "role has 1 entries for 4 frames"),
        (json.dumps({**content, "roles": []}), "key 'roles': Extra inputs"),
    ):
        written.write_text(damage)
        with pytest.raises(InputError, match=message):
            read_manifest(written, data=data, frames=4)


def test_missing_files_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_manifest(tmp_path / "none.json", data=data, frames=4)
    with pytest.raises(InputError, match=r"none\.xyz: No such file"):
        hash_file(tmp_path / "none.xyz")


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 5))
def test_groups_stay_whole_and_no_role_is_empty(group: list[int], seed: int) -> None:
    shares = {"train": 0.75, "valid": 0.1, "test": 0.15}
    stratum = [g % 3 for g in group]
    roles = deal_groups(group, stratum, shares, seed)
    assert roles == deal_groups(group, stratum, shares, seed)
    assert len(set(zip(group, roles, strict=True))) == len(set(group))
    if len(set(group)) >= 3:
        assert set(roles) == set(shares)


def test_shares_are_met_in_every_stratum() -> None:
    stratum = [k // 200 for k in range(600)]
    shares = {"train": 0.75, "valid": 0.1, "test": 0.15}
    roles = np.array(deal_groups(list(range(600)), stratum, shares, seed=1))
    for s in range(3):
        found = [np.sum((roles == r) & (np.array(stratum) == s)) for r in shares]
        np.testing.assert_allclose(found, [150, 20, 30], atol=2)


def test_the_first_role_keeps_every_element() -> None:
    """Also where the other roles could only be filled with what it needs."""
    for n in (3, 4, 5, 6):
        elements = [frozenset({29, 78} if k < 2 else {29}) for k in range(n)]
        for seed in range(20):
            shares = {"train": 0.9, "valid": 0.05, "test": 0.05}
            roles = deal_groups(list(range(n)), [0] * n, shares, seed, elements)
            assert "train" in {role for role, e in zip(roles, elements, strict=True) if 78 in e}
