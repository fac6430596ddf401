"""Settings of a split: what ``scalewise doctor`` and ``scalewise train`` have in common."""

from __future__ import annotations

from pydantic import Field, model_validator

from scalewise.core.settings import Fraction, Length, Settings


class SplitSettings(Settings):
    """Shares of the roles, and groups of structures that get one role."""

    seed: int = Field(0, ge=0)
    valid: Fraction = Field(0.1, description="share of the frames for validation")
    test: float = Field(
        0.15, ge=0, lt=1, description="share of the frames kept out for the test; 0: no test role"
    )
    group_key: str | None = Field(
        None,
        description="frame key whose values are groups of frames that must get one role; default: "
        "groups of near-duplicates",
    )
    role_key: str | None = Field(None, description="frame key that holds the role of each frame")
    duplicate_distance: Length = Field(
        1.5, description="Å, root-mean-square displacement below which frames are near-duplicates"
    )
    duplicate_elements: tuple[str, ...] | None = Field(
        None,
        description="elements compared; default: all but hydrogen, or all elements if a frame has "
        "fewer than two other atoms (an isolated molecule: fewer than three)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> SplitSettings:
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test = {self.valid + self.test:g} leaves nothing to train")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of the frames of each role, which sum to one.

        Examples
        --------
        >>> SplitSettings(valid=0.2, test=0.1).shares
        {'train': 0.7, 'valid': 0.2, 'test': 0.1}
        """
        # 1 - 0.2 - 0.1 is 0.7000000000000001: a group that is dealt at a tie would go elsewhere
        train = round(1.0 - self.valid - self.test, 10)
        shares = {"train": train, "valid": self.valid, "test": self.test}
        return {role: share for role, share in shares.items() if share > 0}
