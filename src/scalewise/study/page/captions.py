"""Title, alternative text and caption of every figure, which explain how to read it."""

from __future__ import annotations

from typing import Final

CAPTIONS: Final[dict[str, tuple[str, str, str]]] = {
    "oracle_gains": (
        "Gains of oracles and selectors over the best single branch",
        "Dot plot, one panel per view and one stripe per regime: gain over the best single branch "
        "for three oracles with their null bands, three label-free selectors and the two-replicate "
        "oracle. The numbers are in the section All rows.",
        "Unit of choice: one atom. Blue marks choose with the label in hand and can only gain; the "
        "shaded bars beside each show what the same choice gains where there is nothing to route "
        "(upper bar: errors permuted within strata; lower bar: equally good Gaussian branches). "
        "Only a blue mark to the right of both bars is evidence (of the upper one alone, where "
        "branches differ twofold in mean square). Green marks see no labels when "
        "they choose and are what a model could do; the pink mark chooses on one replicate and is "
        "scored on the other. Lines are 95 % intervals over blocks of frames. Values beyond the "
        "axis stand at its edge with an arrow. Stars are the paper's gains, whose null is unknown; "
        "overfitted branches have them by luck alone. "
        "The views have different axes.",
    ),
    "scale_histogram": (
        "Which scales are chosen",
        "Histograms of the chosen scale per regime and view, for the continuous oracle and for the "
        "learned selector.",
        "Share of test atoms per bin of the scale; s = 0 is the first branch, s = 1 the last. The "
        "oracle takes for each atom what lies closest to its label, so two similar branches send "
        "it to both ends even without any reason. The learned selector sees geometry alone: where "
        "it stays together, geometry does not tell them apart. The views have different axes.",
    ),
    "error_against_distance": (
        "Error against the distance to the nearest ion",
        "Error of each branch in bins of the distance to the nearest ion, with intervals and the "
        "noise floor, one panel per view.",
        "Points stand at the middle of their bin, branches side by side; bars are 95 % intervals "
        "over blocks of frames, and the small figures count atoms. Where branches cross by more "
        "than their bars, distance could route between them. The dashed line is the noise floor "
        "of all atoms together (its interval shaded): errors there are noise of the labels, and "
        "no scale can remove it. An axis that spans more than a decade is logarithmic.",
    ),
    "loss_over_scale": (
        "Loss against one scale for everyone",
        "Mean loss of each regime against the scale, relative to its best single branch, with the "
        "minimum of each curve marked, one panel per view.",
        "Every atom of a regime gets the same scale s; the loss is divided by that of the better "
        "branch alone. Below one, mixing beats picking. Regimes whose minima lie apart would gain "
        "from a scale of their own, by the depth of the curve between those minima. Look at the "
        "numbers on the axis first: it may span a few parts in a thousand.",
    ),
    "pool_history": (
        "How the pools grew",
        "Scales in the pool after each round: the paper's rule on the left, the held-out "
        "refinement on the right, one line of panels per view.",
        "One line per round, one mark per scale, new or moved ones as diamonds. Left: the paper's "
        "rule halves the interval in which labels ask for it most; beside it the share of the "
        "continuous oracle's gain that the pool keeps. Right: a scale stays only if held-out "
        "blocks miss it; beside it the change of the held-out loss since round 0. One scale left "
        "at the end means that no further one was shown to pay.",
    ),
}
