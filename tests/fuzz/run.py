"""Put readers to damaged inputs: ``python tests/fuzz/run.py frames --count 20000 --seed 0``.

Every finding is told at once, with its seed; its input goes to ``--keep``, one folder per kind and
seed. ``--only`` runs one seed in this very process, with the traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parents[1])]

import torch  # noqa: E402

from fuzz import configurations, extxyz, folders, splits  # noqa: E402
from fuzz.harness import Outcome, Reader, Report, generator, place, run  # noqa: E402

READERS = {
    name: Reader(name, module.mutate, module.read)
    for name, module in {
        "frames": extxyz,
        "config": configurations,
        "model": folders,
        "split": splits,
    }.items()
}
#: Inputs of one kind of finding that are kept.
KEPT = 3


def main() -> int:
    """Run; return 1 where there was a finding."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("readers", nargs="*", help=f"{', '.join(READERS)}, or all")
    words.add_argument("--count", type=int, default=1000, help="seeds of each reader")
    words.add_argument("--seed", type=int, default=0, help="the first one")
    words.add_argument("--batch", type=int, default=500, help="inputs of one child")
    words.add_argument("--seconds", type=float, default=float("inf"), help="at most, per reader")
    words.add_argument("--memory", type=float, default=6.0, help="GiB of address space of a child")
    words.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    words.add_argument("--json", type=Path, help="file for the reports")
    words.add_argument("--only", type=int, help="one seed, here, with the traceback")
    words.add_argument("--refusals", action="store_true", help="list where inputs are refused")
    given = words.parse_args()
    torch.set_num_threads(1)
    names = list(READERS) if given.readers in ([], ["all"]) else given.readers
    unknown = [n for n in names if n not in READERS]
    if unknown:
        words.error(f"no such reader: {', '.join(unknown)}")
    if given.only is not None:
        return only(READERS[names[0]], given.only, given.keep)
    reports = []
    for name in names:
        reader, kept = READERS[name], {}

        def tell(outcome: Outcome, reader: Reader = reader, kept: dict[str, int] = kept) -> None:
            kept[outcome.kind] = kept.get(outcome.kind, 0) + 1
            if kept[outcome.kind] > KEPT:
                return
            print(f"{reader.name} {outcome.seed}: {outcome.kind}\n    {outcome.detail}", flush=True)
            if given.keep is not None:
                keep(reader, outcome, given.keep)

        seeds = range(given.seed, given.seed + given.count)
        report = run(
            reader,
            seeds,
            batch=given.batch,
            stop_at=given.seconds,
            address_space=given.memory,
            tell=tell,
        )
        show(report, refusals=given.refusals)
        reports.append(report)
    if given.json is not None:
        given.json.write_text(json.dumps([r.as_json() for r in reports], indent=1))
    return int(any(r.bad for r in reports))


def only(reader: Reader, seed: int, keep_at: Path | None) -> int:
    """One input in this process: without limits, with the traceback."""
    folder = keep_at or Path(tempfile.mkdtemp(prefix=f"fuzz-{reader.name}-{seed}-"))
    folder.mkdir(parents=True, exist_ok=True)
    given = reader.mutate(generator(reader, seed))
    place(given, folder)
    print(f"input in {folder}")
    for name, content in given.items():
        print(f"{name}: {content[:1500] if isinstance(content, bytes) else content}")
    os.chdir(folder)
    started = time.monotonic()
    try:
        reader.read(folder)
    finally:
        print(f"{time.monotonic() - started:.2f} s")
    return 0


def keep(reader: Reader, outcome: Outcome, where: Path) -> None:
    """Write the input of a finding, and what it was."""
    kind = re.sub(r"[^A-Za-z0-9.]+", "-", outcome.kind)[:80]
    folder = where / reader.name / f"{kind}-{outcome.seed}"
    if folder.exists():
        return
    folder.mkdir(parents=True)
    place(reader.mutate(generator(reader, outcome.seed)), folder)
    text = f"{reader.name} seed {outcome.seed}\n{outcome.kind}\n{outcome.detail}\n"
    (folder / "finding.txt").write_text(text)


def show(report: Report, *, refusals: bool) -> None:
    """Print the table of one reader."""
    total = ", ".join(f"{n} {status}" for status, n in sorted(report.statuses.items()))
    print(
        f"== {report.reader}: {report.count} inputs in {report.seconds:.0f} s; {total}; refused at "
        f"{len(report.refusals)} places; {len(report.bad)} kinds of findings"
    )
    for kind, found in sorted(report.bad.items(), key=lambda item: -len(item[1])):
        seeds = ", ".join(str(o.seed) for o in found[:4])
        print(f"{len(found):6d}  {kind}  (seeds {seeds})")
    for warned, at in sorted(report.warned.items(), key=lambda item: -len(item[1]))[:20]:
        print(f"{len(at):6d}  warning only: {warned}  (seed {at[0]})")
    if refusals:
        for place_, n in report.refusals.most_common():
            print(f"{n:6d}  refused: {place_}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
