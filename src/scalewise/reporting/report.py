"""A report: results of an analysis, their table and figures, and their JSON document."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import scalewise
from scalewise.core.documents import read_plain
from scalewise.core.errors import InputError, cut, did_you_mean, shown
from scalewise.core.files import write_json, write_text
from scalewise.reporting.experiments import DOCUMENTS, Document
from scalewise.reporting.experiments import load as attribute
from scalewise.reporting.numbers import to_json
from scalewise.statistics.verdict import Answer, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scalewise.models.potential import Potential

ENVELOPE: Final = ("kind", "schema", "scalewise", "settings", "provenance", "units", "body")
_AGAIN: Final = "Give a document that this version of scalewise wrote, or run the command again."


@dataclass(frozen=True, eq=False)
class Report:
    """Results of one analysis, with a table and figures, which a notebook shows.

    A report is saved as a JSON document. All documents have the same keys at the top: kind, schema,
    version, settings, provenance, units and body. ``reporting/schemas`` has a JSON schema for each
    kind.

    Attributes
    ----------
    kind
        Kind of the analysis: ``curve``, ``evaluation``, ``forks``, ``refine``, ``prove``,
        ``locality``, ``doctor``, ``simulation``, ``trust``, ``distillation``, ``study``.
    body
        Results, as plain numbers, texts, lists and dictionaries.
    settings
        All settings of the analysis.
    provenance
        Name, SHA-256 and number of structures of the data, and versions of the software.
    units
        Units of the numbers in the body, by name.
    attachments
        Results that are not part of the document, such as a potential or predictions. A report that
        was read from a document has none.
    """

    kind: str
    body: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    attachments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def made(
        cls,
        kind: str,
        body: Mapping[str, Any],
        *,
        settings: Mapping[str, Any],
        units: Mapping[str, str],
        provenance: Mapping[str, Any] | None = None,
        **attachments: Any,
    ) -> Report:
        """Make a report of computed results; numbers are rounded to ten digits."""
        return cls(
            kind,
            to_json(body),
            to_json(settings),
            to_json(provenance or {}),
            dict(units),
            dict(attachments),
        )

    # -- what it says ------------------------------------------------------------------------------

    @property
    def potential(self) -> Potential:
        """The potential that the analysis made.

        Raises
        ------
        InputError
            The analysis made no potential, or the report was read from its document.
        """
        if "potential" not in self.attachments:
            raise InputError(
                f"report '{self.kind}'",
                "it holds no potential",
                "A report of refine_cutoffs has one, until it is read from its document: use "
                "load_potential on the folder it was saved to.",
            )
        found: Potential = self.attachments["potential"]
        return found

    @property
    def subsets(self) -> list[str]:
        """Names of the subsets of atoms that verdicts are given for."""
        return list(self._verdicts())

    def verdict(self, subset: str = "all", question: str | None = None) -> Verdict:
        """Answer a question for a subset of the atoms.

        Parameters
        ----------
        subset
            ``all``, an element or a regime; :attr:`subsets` lists them.
        question
            Question of the analysis; default: the first one.

            * cutoff scan and forks: ``system``, whether the system needs the longest scale instead
              of the shortest cutoff;
            * cutoff scan also: ``longer``, whether this potential needs it;
            * forks also: ``now``, whether it is needed at the present training budget;
            * attribution: ``cutoff``, ``long``, ``routing``, ``data``, ``size``;
            * study: the name of the view, ``ions`` or ``explicit``.

        Raises
        ------
        InputError
            A report without verdicts; a subset or a question that the report does not have.
        """
        found = self._verdicts()
        if not found:
            raise InputError(
                f"report '{self.kind}'",
                "it answers no question",
                "Ask a cutoff scan, an attribution or a study.",
            )
        if subset not in found:
            raise InputError(
                f"subset '{subset}'",
                f"the report '{self.kind}' has verdicts for: {', '.join(found) or 'none'}",
                f"Name one of these.{did_you_mean(subset, found)}",
            )
        verdicts = found[subset]
        if not verdicts:
            raise InputError(
                f"subset '{subset}'",
                f"the report '{self.kind}' has no verdicts",
                "Ask that of a cutoff scan, an attribution or a study.",
            )
        name = question or next(iter(verdicts))
        if name not in verdicts:
            raise InputError(
                f"question '{name}'",
                f"the report '{self.kind}' answers: {', '.join(verdicts)}",
                f"Name one of these.{did_you_mean(name, verdicts)}",
            )
        return verdicts[name]

    def _verdicts(self) -> dict[str, dict[str, Verdict]]:
        """Verdicts by subset and question."""
        if self.kind != "study":
            return {s["name"]: _verdicts(s) for s in self.body.get("subsets", ())}
        found: dict[str, dict[str, Verdict]] = {}
        for view, regimes in self.body["verdict"].items():
            for regime, record in regimes.items():
                found.setdefault(regime, {})[view] = _verdict(record)
        return found

    # -- how it is shown ---------------------------------------------------------------------------

    def figures(self) -> dict[str, Figure]:
        """Draw all figures, by name."""
        from scalewise.reporting.style import styled

        draw = attribute(self._kind.figures)
        with styled():
            found: dict[str, Figure] = {k: f for k, f in draw(self).items() if f is not None}
        return found

    def figure(self, name: str | None = None) -> Figure:
        """Draw one figure by name; default: the first.

        Raises
        ------
        InputError
            The report has no such figure.
        """
        drawn = self.figures()
        chosen = name or next(iter(drawn), None)
        if chosen not in drawn:
            raise InputError(
                f"figure '{chosen}'",
                f"the report '{self.kind}' draws: {', '.join(drawn) or 'none'}",
                f"Name one of these.{did_you_mean(chosen or '', drawn)}",
            )
        return drawn[chosen]

    def table(self, *, width: int = 100) -> str:
        """Return the table as plain text."""
        from scalewise.core.terminal import Console

        console = Console(file=io.StringIO(), width=width, no_color=True)
        self.print_table(console)
        written: io.StringIO = console.file  # type: ignore[assignment]  # given above
        return written.getvalue()

    def print_table(self, console: Any) -> None:
        """Print the table to a console of ``rich``."""
        attribute(self._kind.table)(self.results, console)

    def __str__(self) -> str:
        """The table."""
        return self.table()

    def _repr_html_(self) -> str:
        """Show table and figures in a notebook."""
        from html import escape

        parts = [f"<pre>{escape(self.table().strip())}</pre>"]
        for figure in self.figures().values():
            stream = io.StringIO()
            figure.savefig(stream, format="svg")
            text = stream.getvalue()
            parts.append(text[text.index("<svg") :])
        return "\n".join(parts)

    # -- how it is written and read ----------------------------------------------------------------

    @property
    def results(self) -> dict[str, Any]:
        """Body, settings, data and provenance in one dictionary, which tables and figures use."""
        more = {k: v for k, v in self.provenance.items() if k not in ("data", "versions")}
        versions = dict(self.provenance.get("versions") or {})
        return {
            "settings": self.settings,
            "data": self.provenance.get("data"),
            "provenance": {**versions, **more, "settings": self.settings},
            **self.body,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document as a dictionary."""
        return {
            "kind": self.kind,
            "schema": self._kind.schema,
            "scalewise": scalewise.__version__,
            "settings": self.settings,
            "provenance": self.provenance,
            "units": dict(self.units),
            "body": self.body,
        }

    def save(self, folder: Path | str) -> list[Path]:
        """Write document, table, figures and attachments to a folder, and return their paths.

        Raises
        ------
        InputError
            The folder cannot be written to.
        """
        from scalewise.reporting.style import save, styled

        out = Path(folder)
        document = out / f"{self._kind.file}.json"
        table = self.table()  # what cannot be shown is not written
        write_json(document, self.to_json())
        write_text(out / f"{self._kind.file}.txt", table)
        paths = [document, out / f"{self._kind.file}.txt"]
        draw = attribute(self._kind.figures)
        with styled():
            for name, figure in draw(self).items():
                target = out / "figures" / name
                if figure is not None:
                    paths += save(figure, target)
                    continue
                for suffix in ("png", "svg"):  # of an earlier run, which had data for it
                    (target.parent / f"{name}.{suffix}").unlink(missing_ok=True)
        for name, value in self.attachments.items():
            if write := ATTACHMENTS.get(name):
                paths.append(attribute(write)(value, out))
        return paths

    @classmethod
    def load(cls, path: Path | str) -> Report:
        """Read a report from its document, or from the folder that holds it.

        Raises
        ------
        InputError
            A file that is not a document of scalewise, a damaged document, or one of another
            schema; a folder with no document or several.
        """
        path = Path(path)
        if path.is_dir():
            known = [path / f"{kind.file}.json" for kind in DOCUMENTS.values()]
            found = [p for p in known if p.is_file()]
            if not found:
                raise InputError(
                    str(path),
                    "no document of results in it",
                    "Give the --out of a command that wrote results; for the page of a training, "
                    "give --out page.html, too.",
                )
            if len(found) > 1:
                names = ", ".join(str(p) for p in found)
                raise InputError(
                    str(path), f"{len(found)} documents", f"Name one of them: {names}."
                )
            path = found[0]
        return cls.from_json(read_plain(path, _AGAIN), where=str(path))

    @classmethod
    def from_json(cls, document: Any, *, where: str = "document") -> Report:
        """Make a report from its JSON document; ``where`` names the document in errors.

        Raises
        ------
        InputError
            As :meth:`load`.
        """
        if not isinstance(document, dict) or not set(ENVELOPE) <= document.keys():
            raise InputError(where, "not a document of scalewise", _AGAIN)
        kind, schema = document["kind"], document["schema"]
        if not isinstance(kind, str) or kind not in DOCUMENTS:
            raise InputError(where, f"a document of the kind {shown(kind, 40)}", _AGAIN)
        if schema != DOCUMENTS[kind].schema:
            found = f"schema {shown(schema, 40)}, where {DOCUMENTS[kind].schema} is read"
            raise InputError(where, found, _AGAIN)
        parts = [document[n] for n in ("body", "settings", "provenance", "units")]
        if not all(isinstance(part, dict) for part in parts) or not isinstance(
            document["provenance"].get("versions", {}), dict
        ):
            raise InputError(where, "damaged (its body, settings, provenance or units)", _AGAIN)
        report = cls(kind, *parts)
        if (check := DOCUMENTS[kind].check) is None:
            _check_schema(kind, document, where)
        else:
            attribute(check)(report.results, where)
        return report

    @property
    def _kind(self) -> Document:
        return DOCUMENTS[self.kind]


def provenance(data: Any = None, **more: Any) -> dict[str, Any]:
    """Where results come from: the data, and versions of what computed them.

    Parameters
    ----------
    data
        Settings-like description of the data, with ``model_dump``.
    more
        Further entries.
    """
    versions = {name: version(name) for name in ("numpy", "torch", "ase")}
    described = {} if data is None else {"data": data.model_dump(mode="json")}
    return {**described, **more, "versions": versions}


#: What writes an attachment below a folder.
ATTACHMENTS: Final[dict[str, str]] = {
    "potential": "scalewise.models.checkpoint:save_below",
    "predictions": "scalewise.analysis.evaluation.predict:save_below",
    "split": "scalewise.data.splits.split:save_below",
    "page": "scalewise.study.page.page:save_below",
}


def _verdicts(subset: Mapping[str, Any]) -> dict[str, Verdict]:
    """Verdicts of one subset, by question."""
    if "verdicts" in subset:
        return {v["question"]: _verdict(v) for v in subset["verdicts"]}
    own = [s for s in subset.get("scales", ()) if "system" in s]
    names = ("system", "now", "longer")
    return {name: _verdict(own[0][name]) for name in names if own and name in own[0]}


def _verdict(record: Mapping[str, Any]) -> Verdict:
    return Verdict(
        Answer(record["answer"]),
        gain=record.get("gain"),
        low=record.get("low"),
        high=record.get("high"),
        p=record.get("p"),
        reason=str(record.get("reason", "")),
        question=str(record.get("question", "")),
        training=record.get("training"),
    )


def _check_schema(kind: str, document: Mapping[str, Any], where: str) -> None:
    """Refuse a document that does not keep to the schema of its kind; the first key is named."""
    from jsonschema import Draft202012Validator

    file = resources.files("scalewise.reporting") / f"schemas/{DOCUMENTS[kind].file}.schema.json"
    schema = json.loads(file.read_text("utf-8"))
    error = next(Draft202012Validator(schema).iter_errors(document), None)
    if error is not None:
        key = error.json_path.removeprefix("$.")
        raise InputError(f"{where}, key '{cut(key, 80)}'", cut(error.message, 200), _AGAIN)
    _check_scales(document["body"], where)


def _check_scales(body: Mapping[str, Any], where: str) -> None:
    """Refuse a document whose subsets have other scales than it lists, or refer to none of them."""
    if not isinstance(scales := body.get("scales"), list):
        return
    subsets = [s for s in body.get("subsets", ()) if isinstance(s, dict)]
    for part in (body, *subsets):
        reference = part.get("reference")
        if isinstance(reference, int) and not 0 <= reference < len(scales):
            found = f"{reference}, but there are {len(scales)} scales"
            raise InputError(f"{where}, key 'reference'", found, _AGAIN)
    for subset in subsets:
        if isinstance(own := subset.get("scales"), list) and len(own) != len(scales):
            found = f"{len(own)} scales in a subset, where {len(scales)} belong"
            raise InputError(f"{where}, key 'subsets'", found, _AGAIN)
