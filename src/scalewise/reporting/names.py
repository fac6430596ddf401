"""Names and units in tables and figures."""

from __future__ import annotations

from dataclasses import dataclass

from scalewise.core.quantities import to_kj_per_mol_nm, to_mev_per_angstrom


def regime_name(regime: str) -> str:
    """Print `close_contact` as two words."""
    return regime.replace("_", " ")


def shorten(text: str, most: int = 22) -> str:
    """Cut a long name in its middle.

    Examples
    --------
    >>> shorten("a_very_long_model_name_v2", 12)
    'a_very…me_v2'
    """
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


@dataclass(frozen=True)
class LossUnit:
    """The unit of every loss in a study: a force, or its square."""

    power: int

    @property
    def quantity(self) -> str:
        """Name of the mean loss."""
        return "MAE" if self.power == 1 else "MSE"

    @property
    def main(self) -> str:
        """Unit of the first axis or column."""
        return "meV/Å" if self.power == 1 else "(meV/Å)²"

    @property
    def other(self) -> str:
        """Unit of the second axis or column."""
        return "kJ/mol/nm" if self.power == 1 else "(kJ/mol/nm)²"

    def to_main(self, loss: float) -> float:
        """Convert from eV/Å, or its square."""
        return loss * to_mev_per_angstrom(1.0) ** self.power

    def to_other(self, loss: float) -> float:
        """Convert from eV/Å, or its square."""
        return loss * to_kj_per_mol_nm(1.0) ** self.power
