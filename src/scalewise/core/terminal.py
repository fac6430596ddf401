"""The terminal: control sequences in texts from files are printed, not executed."""

from __future__ import annotations

from typing import Any

from rich.console import Console as RichConsole
from rich.text import Text

from scalewise.core.errors import printable


class Console(RichConsole):
    """A console that prints control characters of any text as what they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn text into what is printed."""
        return super().render_str(printable(text), **options)
