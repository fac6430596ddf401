"""The report in a real browser: it shows the verdict, and its filter runs without errors."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from document_samples import curve
from report_samples import LEARNING, forks, study
from scalewise.analysis.overview.collect import Run
from scalewise.analysis.overview.page import markup
from scalewise.reporting.style import styled
from scalewise.study.page.page import write_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IN_SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WAIT = "--virtual-time-budget=10000"
WITHOUT_WEBGL = ("--disable-gpu", "--disable-3d-apis")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    results = study(("ions",), ("<script>document.title = 'gone'</script>", "long"))
    write_page(results, [], path)
    return path


def browse(page: Path, folder: Path, *options: str) -> str:
    assert BROWSER is not None
    place = f"--user-data-dir={folder / 'profile'}"
    command = [BROWSER, *FLAGS, place, *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_filter_runs_and_shows_the_verdict(page: Path, tmp_path: Path) -> None:
    dom = browse(page, tmp_path, "--dump-dom")
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    assert "data-error" not in root.group()
    every = dom.count("<tr data-view=")
    shown = len(re.findall(r'<tr data-view="[^>]*(?<!hidden="")>', dom))
    assert 0 < shown < every
    assert f'data-filter="{shown}/{every}"' in root.group()
    assert f"{shown} of {every} rows shown" in dom
    assert "choosing a scale per atom is needed" in dom
    assert "<title>scalewise:" in dom


@pytest.mark.parametrize("width", [1280, 500])
def test_page_can_be_drawn(page: Path, tmp_path: Path, width: int) -> None:
    shot = tmp_path / "page.png"
    browse(page, tmp_path, f"--window-size={width},1000", f"--screenshot={shot}")
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert shot.stat().st_size > 10_000


@pytest.fixture(scope="module")
def overview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("overview") / "report.html"
    runs = [Run("first", (forks(),)), Run("second", (forks(enough=None, learning=LEARNING),))]
    with styled():
        path.write_text(markup(runs))
    return path


@pytest.mark.parametrize("software", [True, False])
def test_a_frame_is_drawn_in_3d_or_the_page_says_why_not(tmp_path: Path, software: bool) -> None:
    """The viewer makes pictures with WebGL, which a machine without a screen has in software."""
    page = tmp_path / "report.html"
    with styled():
        page.write_text(markup([Run("curve", (curve(tmp_path)[0],))]))
    options = IN_SOFTWARE if software else WITHOUT_WEBGL
    dom = browse(page, tmp_path, *options, WAIT, "--dump-dom")
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    assert f'data-viewer="{"drawn" if software else "failed"}"' in root.group()
    said = re.search(r'id="viewer"[^>]*>This browser cannot draw it', dom)
    assert (said is None) == software
    shot = tmp_path / "page.png"
    browse(page, tmp_path, *options, "--window-size=900,2000", f"--screenshot={shot}", WAIT)
    red, green, blue = imread(shot)[..., :3].transpose(2, 0, 1)
    atoms = (red > 1.8 * green) & (blue > 1.8 * green)  # viridis begins with a purple
    assert (atoms.sum() > 1000) == software


@pytest.mark.parametrize("width", [1280, 760, 400])
def test_the_page_of_a_project_is_drawn_without_complaint(
    overview: Path, tmp_path: Path, width: int
) -> None:
    assert BROWSER is not None
    shot = tmp_path / "page.png"
    options = (f"--window-size={width},1200", f"--screenshot={shot}", "--enable-logging=stderr")
    command = [
        *(BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
        *(*options, overview.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 20_000


def test_the_page_of_a_project_can_be_walked_by_keyboard(overview: Path, tmp_path: Path) -> None:
    dom = browse(overview, tmp_path, "--dump-dom")
    anchors = re.findall(r'href="#([^"]+)"', dom)
    assert len(anchors) >= 4
    assert all(f'id="{anchor}"' in dom for anchor in anchors)
    # what scrolls can be reached and is named; what folds is an element that browsers fold
    assert all(
        'tabindex="0"' in tag for tag in re.findall(r'<div class="(?:scroll|plot)"[^>]*>', dom)
    )
    assert dom.count("<details>") == dom.count("<summary>") == 2
