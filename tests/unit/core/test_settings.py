"""Settings: strict, with a way out of every mistake."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from scalewise.core.errors import InputError
from scalewise.core.files import replacing, write_json
from scalewise.core.loading import load
from scalewise.doctor.settings import DoctorSettings
from scalewise.study.settings import StudySettings
from scalewise.testbed.settings import SolutionSettings
from scalewise.training.settings import TrainSettings


def test_words_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("seed: 3\nsolution:\n  concentration: 1.0\n  replicas: 4\n")
    found = load(StudySettings, path, ["solution.concentration=0.5"])
    assert (found.seed, found.solution.concentration, found.solution.replicas) == (3, 0.5, 4)


@pytest.mark.parametrize(("word", "seed"), [("010", 10), ("008", 8), ("0", 0), ("00", 0)])
def test_whole_numbers_that_begin_with_zeros_are_decimal(
    tmp_path: Path, word: str, seed: int
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"seed: {word}\n")
    assert load(DoctorSettings, path).seed == load(DoctorSettings, None, [f"seed={word}"]).seed
    assert load(DoctorSettings, path).seed == seed


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("")
    assert load(StudySettings, path) == StudySettings()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["solution.concentraton=1"], r"key 'solution.concentraton'.*Did you mean 'concentration'"),
        (["sed=1"], r"key 'sed': no such key.*Did you mean 'seed'"),
        (["seed"], "neither a file nor key=value"),
        (["solution.box=-3"], r"key 'solution.box': got -3"),
        (["solution.box=17"], r"needs a box of at least"),
        (["anchors=[1,0]"], "increase strictly from 0 to 1"),
        (["anchors=[0,0.5,0.5,1]"], "increase strictly from 0 to 1"),
        (["split.train=0.6", "split.tune=0.5"], "leaves nothing to test"),
        (["solution.replicates.replicas=9"], "exceeds replicas=8"),
        (["solution.frames=4"], "exceeds frames=4"),
        (["solution.ions=charmm", "solution.water=opc3"], "charmm ions go with"),
        (["predictions.files=[a.xyz]"], "at least two prediction files"),
        (["predictions.files=[a.xyz,b.xyz]", "predictions.names=[average,b]"], "rows of the"),
        (["predictions.files=[a.xyz,b.xyz]", "predictions.names=[b]"], "1 entries for 2"),
        (["regimes=[{name: far, above: 5}]"], "say to the nearest what"),
        (["regimes=[{name: far, belw: 5}]"], r"key 'regimes.0.belw'.*Did you mean 'below'"),
        (["regimes=odd"], r"key 'regimes': got 'odd'"),
        (["views=[]"], "once"),
        (["seed={"], "not valid YAML"),
        (["concentration=1"], r"'concentration'.*Did you mean 'solution.concentration'"),
        (["study.solution.seed=3"], r"key 'study'.*Did you mean 'solution.seed'"),
        (["belw=3"], r"key 'belw': no such key[^?]*$"),
    ],
)
def test_mistakes_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(StudySettings, None, words)


@pytest.mark.parametrize(
    ("content", "message"), [("- 1\n", r"it holds \[1\]"), ("a: [", "not valid YAML")]
)
def test_files_that_are_no_configuration(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load(StudySettings, path)
    with pytest.raises(InputError, match="no such file"):
        load(StudySettings, tmp_path / "none.yaml")


def test_digest_changes_with_any_setting() -> None:
    digests = {
        load(SolutionSettings, None, [w]).digest()
        for w in ("seed=0", "seed=1", "replicates.samples=4", "water=spce")
    }
    assert len(digests) == 4
    assert SolutionSettings().digest() == load(SolutionSettings, None, ["seed=0"]).digest()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(path, {"new": float("nan")})

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == '{\n "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "out" / "a.json", {})


def test_errors_survive_a_process_boundary() -> None:
    error = InputError("a.xyz", "no frames", "Write one.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1" + 5000 * "0", r"not valid YAML \(.* value has \d+ digits\)"),
        ("seed: 0x" + 5000 * "f", "a whole number of 20000 bits"),
        ("a: &x [1]\nb: *x", r"an alias, \*x"),
        ("seed: !!int 3", "a tag, tag:yaml.org,2002:int"),
        ("seed: !!python/object:os.system 3", "a tag"),
        ("a: " + 40 * "[" + 40 * "]", "nested more than 16 deep"),
        ("forces-key: forces", "key 'forces-key': no such key.*Did you mean 'forces_key'"),
        ("seed: 2020-13-45", "got '2020-13-45'"),
        ("seed: .inf", "finite|valid integer"),
        ("seed: 1:30", "got '1:30'"),
        ("seed: 5\nseed: 6", "the key seed twice"),
        ("seed.more: 5", "key 'seed.more': no such key"),
    ],
)
def test_yaml_that_is_more_than_settings(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load(DoctorSettings, path)
    assert len(str(caught.value)) < 1000


def test_groups_of_settings_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content, message in (
        (
            "data.valid: 0.2",
            r"a dotted key in a file\. Write it in levels: data: \{valid: \.\.\.\}",
        ),
        ("data:", r"key 'data': got None\. It holds settings, such as data\."),
        ("network: 3", r"key 'network': got 3\. It holds settings, such as network\."),
        ("loss: {energy: 1, energy: 2}", "the key energy twice"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load(TrainSettings, path)
    path.write_text("data: {valid: 0.2}\nlearning_rate: 1e-3\nminutes: 1.5")
    assert load(TrainSettings, path).data.valid == 0.2


def test_files_that_are_no_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="a pipe or a device"):
        load(StudySettings, tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["@here/split.json", "a=b/split.json", "2020-01-01", "1e5", "~x"])
def test_paths_are_paths_whatever_they_look_like(name: str) -> None:
    assert load(TrainSettings, None, [f"data.split={name}"]).data.split == Path(name)
    assert load(TrainSettings, None, ["data.split=null"]).data.split is None
