"""Splits: made alike for every command, bound to their data, refused for any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data.reading import read_structures, write_structures
from scalewise.data.splits import (
    SPARE,
    DataFile,
    Split,
    SplitSettings,
    deal_groups,
    hash_file,
    identify,
    make_split,
    reduced,
)
from scalewise.data.structure import Labels, Structure
from scalewise.doctor.settings import DoctorSettings
from scalewise.training.settings import DataSettings

ROLES = ("train", "ood", "test", "train")


def cluster(seed: int, moved: float = 0.0, numbers: tuple[int, ...] = (18,) * 12) -> Structure:
    """Atoms at random in a box of 20 Å, moved by so many Å: two seeds are nowhere near."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, 20, (len(numbers), 3))
    positions[0, 0] += moved
    return Structure(
        np.array(numbers), positions, 20.0 * np.eye(3), np.ones(3, dtype=bool), info={"run": seed}
    )


def twins(families: int, each: int) -> list[Structure]:
    """Families of near-duplicates, one after another."""
    return [cluster(f, 0.01 * k) for f in range(families) for k in range(each)]


FOUR = [cluster(0)] * 4


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dft.xyz"
    path.write_text("four frames")
    return path


@pytest.fixture
def written(data: Path) -> Path:
    file = DataFile(file=data.name, sha256=hash_file(data), frames=4)
    path = data.with_name("split.json")
    Split(data=file, role=ROLES, group=(0, 1, 2, 0)).save(path)
    return path


def test_what_was_written_comes_back(data: Path, written: Path) -> None:
    split = Split.load(written, structures=FOUR, data=data)
    assert split.role == ROLES
    assert split.roles == ("train", "test", "ood")
    np.testing.assert_array_equal(split.members("train"), [0, 3])
    assert split.leaking_groups() == ()


def test_a_group_in_two_roles_is_named() -> None:
    file = DataFile(file="a.xyz", sha256=64 * "0", frames=4)
    assert Split(data=file, role=ROLES, group=(0, 5, 5, 0)).leaking_groups() == (5,)


def test_another_content_is_refused(data: Path, written: Path) -> None:
    data.write_text("four other frames")
    with pytest.raises(InputError, match=r"split\.json: made for dft\.xyz with SHA-256 .* has "):
        Split.load(written, structures=FOUR, data=data)


def test_another_number_of_frames_is_refused(data: Path, written: Path) -> None:
    with pytest.raises(InputError, match=r"made for 4 frames of dft\.xyz, but .* has 3"):
        Split.load(written, structures=FOUR[:3], data=data)


def test_a_missing_role_is_named(data: Path, written: Path) -> None:
    split = Split.load(written, structures=FOUR, data=data)
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
            Split.load(written, structures=FOUR, data=data)


def test_missing_files_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        Split.load(tmp_path / "none.json", structures=FOUR, data=data)
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


# -------------------------------------------------------------------------------- make_split


def test_families_stay_together_and_shares_are_met() -> None:
    split = make_split(twins(20, 3))
    assert split.group == tuple(k // 3 for k in range(60))
    assert split.leaking_groups() == ()
    assert [len(split.members(r)) for r in ("train", "valid", "test")] == [45, 6, 9]
    assert split.shares == {"train": 0.75, "valid": 0.1, "test": 0.15}
    assert split.made == {
        "group": "near-duplicates below 1.5 Å",
        "role": "whole groups, dealt by seed",
    }


def test_the_seed_decides_and_nothing_else_does() -> None:
    structures = twins(20, 3)
    first, again, other = (make_split(structures, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.role != other.role
    assert first.group == other.group


def test_every_element_is_trained_on() -> None:
    structures = [*twins(12, 2), cluster(100, numbers=(18,) * 11 + (36,))]
    for seed in range(20):
        assert make_split(structures, seed=seed).role[-1] == "train"


def test_one_family_is_cut_into_blocks_that_follow_each_other() -> None:
    said: list[str] = []
    split = make_split(twins(1, 60), progress=Messages(said.append))
    assert split.group == tuple(k // 3 for k in range(60))
    assert set(split.roles) == {"train", "valid", "test"}
    assert "cut into 20 blocks of frames that follow each other" in split.made["group"]
    (line,) = said
    assert "errors on other frames will be larger" in line


@pytest.mark.parametrize("kinds", [1, 2, 3, 4, 6])
def test_systems_of_one_trajectory_each_are_cut_into_blocks(kinds: int) -> None:
    """Each is the only group with its element, which training cannot spare."""
    structures = [cluster(z, 0.01 * k, (z,) * 12) for z in range(10, 10 + kinds) for k in range(30)]
    split = make_split(structures)
    for role in ("train", "valid", "test"):
        assert len(split.members(role)) >= 0.05 * len(structures)
    trained = {int(structures[k].numbers[0]) for k in split.members("train")}
    assert trained == set(range(10, 10 + kinds))


def test_groups_that_can_be_spared_are_not_cut() -> None:
    """Of one element there is one group, of another three."""
    more = [cluster(9, 0.01 * k, (2,) * 12) for k in range(3)]
    split = make_split([*twins(3, 3), *more])
    assert "cut into" not in split.made["group"]
    assert len(set(split.group)) == 4
    assert split.role[9:] == ("train",) * 3


def test_a_key_groups_what_has_one_value() -> None:
    structures = [cluster(k // 4, 5.0 * k) for k in range(40)]  # no near-duplicates
    split = make_split(structures, group_key="run")
    assert split.group == tuple(k // 4 for k in range(40))
    assert split.made["group"] == "frame key 'run'"
    with pytest.raises(InputError, match=r"key 'rnu': no such frame key.*Did you mean 'run'"):
        make_split(structures, group_key="rnu")


def test_given_roles_are_kept_and_near_duplicates_are_still_groups() -> None:
    structures = [
        replace(s, info={"role": "val" if k % 5 == 0 else "training"})
        for k, s in enumerate(twins(4, 3))
    ]
    split = make_split(structures, role_key="role")
    assert split.role == tuple("valid" if k % 5 == 0 else "train" for k in range(12))
    assert split.group == tuple(k // 3 for k in range(12))
    assert split.leaking_groups() == (0, 1, 3)
    assert split.shares == {}


def test_blocks_end_where_given_roles_do() -> None:
    """A block across a border made frames of a test seem to be in a group that is trained on."""
    structures = [
        replace(s, info={"role": "train" if k < 25 else "test"}) for k, s in enumerate(twins(1, 50))
    ]
    split = make_split(structures, role_key="role")
    assert "cut into" in split.made["group"]
    assert split.leaking_groups() == ()
    assert len(set(split.group)) >= 20


def test_roles_that_are_not_used_are_mentioned() -> None:
    """Published errors are of the official roles: who does not take them should know it."""
    words = ["training", "training", "val", "test600"]
    structures = [
        replace(s, info={"name": "train", "split": words[k % 4]}) for k, s in enumerate(twins(4, 3))
    ]
    said: list[str] = []
    make_split(structures, progress=Messages(said.append))
    (line,) = said
    assert (
        "key 'split' (6 train, 3 valid, 3 test600), which are not used: give data.split_key" in line
    )
    said.clear()
    make_split(structures, role_key="split", progress=Messages(said.append))
    make_split([replace(s, info={"split": 3}) for s in structures], progress=Messages(said.append))
    some = [*structures[:-1], replace(structures[-1], info={"name": "train"})]
    make_split(some, progress=Messages(said.append))
    assert said == []


def test_without_a_test_there_is_no_such_role() -> None:
    assert make_split(twins(20, 2), test=0.0).roles == ("train", "valid")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"valid": 0.0}, "'valid': Input should be greater than 0, got 0.0"),
        ({"valid": 0.6, "test": 0.5}, r"valid \+ test = 1\.1 leaves nothing to train"),
        ({"duplicate_distance": -1.0}, "'duplicate_distance': Input should be greater than 0"),
        ({"seed": -1}, "'seed': Input should be greater than or equal to 0"),
    ],
)
def test_shares_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(twins(4, 1), **wrong)
    with pytest.raises(InputError, match="structures: none"):
        make_split([])


def test_the_doctor_and_the_trainer_deal_alike() -> None:
    """With shares whose difference to one is no round number, too."""
    for train, valid, test in ((0.75, 0.1, 0.15), (0.7, 0.2, 0.1), (0.6, 0.3, 0.1)):
        doctor = DoctorSettings(seed=3, train=train, valid=valid).splitting
        assert doctor == DataSettings(valid=valid, test=test).splitting(3)
        assert doctor.shares == {"train": train, "valid": valid, "test": test}
    assert DataSettings().splitting(0) == DoctorSettings().splitting == SplitSettings()


# ----------------------------------------------------------------------------------- identity


def test_all_frames_of_a_file_are_that_file(tmp_path: Path) -> None:
    path = tmp_path / "argon.extxyz"
    write_structures(path, twins(3, 2))
    read = read_structures(path, forces=None, check_units=False)
    expected = DataFile(file="argon.extxyz", sha256=hash_file(path), frames=6)
    assert identify(read) == expected
    moved = replace(read[0], positions=read[0].positions + 1e-3)
    for others in (read[:5], read[::-1], [*read[:5], read[0]], [moved, *read[1:]]):
        assert identify(others).file == "memory"
    path.unlink()
    assert identify(read).file == "memory"


def test_a_hash_in_memory_changes_with_everything_that_counts() -> None:
    one = replace(cluster(0), labels=Labels(forces=np.zeros((12, 3)), energy=0.0))
    pbc = np.array([True, True, False])
    others = [
        replace(one, numbers=one.numbers + 1),
        replace(one, positions=one.positions + 1e-9),
        replace(one, cell=one.cell * 2),
        replace(one, pbc=pbc),
        replace(one, labels=Labels(forces=np.zeros((12, 3)))),
        replace(one, labels=Labels(energy=0.0)),
        replace(one, labels=Labels(forces=np.ones((12, 3)), energy=0.0)),
        replace(one, labels=replace(one.labels, stress=np.zeros((3, 3)))),
    ]
    found = {identify([s]).sha256 for s in [one, *others]}
    found |= {identify([one, one]).sha256, identify([others[0], one]).sha256}
    assert len(found) == 11
    named = replace(one, info={"run": 7}, source="elsewhere", index=3)
    assert identify([named]).sha256 == identify([one]).sha256


def test_a_split_of_structures_in_memory(tmp_path: Path) -> None:
    structures = twins(8, 2)
    split = make_split(structures)
    assert split.data.file == "memory"
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json", structures=structures) == split
    with pytest.raises(InputError, match=r"made for memory with SHA-256 .*, but the data has "):
        Split.load(tmp_path / "split.json", structures=structures[::-1])
    with pytest.raises(InputError, match="made for 16 frames of memory, but the data has 3"):
        Split.load(tmp_path / "split.json", structures=structures[:3])


def test_a_split_in_memory_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "argon.extxyz"
    write_structures(path, twins(8, 2))
    read = read_structures(path, forces=None, check_units=False)
    make_split(read).save(tmp_path / "split.json")
    split = Split.load(tmp_path / "split.json", structures=read, data=path)
    assert split == Split.load(tmp_path / "split.json", structures=read)


def test_a_smaller_set_leaves_other_roles_alone() -> None:
    split = make_split(twins(20, 3))
    half = reduced(split, 0.5, seed=0)
    for role in ("valid", "test"):
        np.testing.assert_array_equal(half.members(role), split.members(role))
    kept = {*half.members("train").tolist(), *half.members(SPARE).tolist()}
    assert kept == set(split.members("train").tolist())
