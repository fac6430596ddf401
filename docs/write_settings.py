"""Write docs/settings.md from the schema, so that defaults live in one place.

python docs/write_settings.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalewise.core.settings import Settings
from scalewise.reporting.experiments import EXPERIMENTS, load
from scalewise.study.settings import StudySettings

HEAD = """# Settings

Written by `python docs/write_settings.py` from the settings classes. Give them as YAML, or as
`key=value` words with dotted keys; `scalewise generate` takes the keys below `solution` without
that prefix.

| key | default | meaning |
|---|---|---|
"""

TABLE = """

## Settings of `scalewise {command}`

| key | default | meaning |
|---|---|---|
"""
#: The commands that have settings of their own; those of a solution are part of a study's.
COMMANDS: dict[str, Any] = {
    e.name: load(e.settings) for e in EXPERIMENTS if e.name not in ("study", "generate")
}


def rows(schema: type[Settings], prefix: str = "") -> list[str]:
    """One table row per setting, nested ones below their dotted key."""
    lines = []
    for name, field in schema.model_fields.items():
        nested = nested_schema(field.annotation)
        default = field.get_default(call_default_factory=True)
        if nested is not None and nested.__name__ != "RegimeSettings":
            lines += rows(nested, f"{prefix}{name}.")
            continue
        shown = "" if field.is_required() else f"`{plain(default)}`"
        text = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{prefix}{name}` | {shown} | {text} |")
    return lines


def nested_schema(annotation: Any) -> type[Settings] | None:
    """The settings class inside an annotation, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    found = [nested_schema(a) for a in getattr(annotation, "__args__", ())]
    return next((f for f in found if f is not None), None)


def plain(value: Any) -> str:
    """A default as one would write it in YAML."""
    if isinstance(value, tuple):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def text() -> str:
    """The whole page."""
    pages = [
        TABLE.format(command=name) + "\n".join(rows(schema)) for name, schema in COMMANDS.items()
    ]
    return HEAD + "\n".join(rows(StudySettings)) + "".join(pages) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(text(), encoding="utf-8")
