"""The look of the course's figures, and the one figure that many sections share."""

import matplotlib.pyplot as plt
import pandas as pd

# Okabe and Ito (2008): eight colours that colour-blind readers can tell apart.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000 #E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7".split()
)
COLORS = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, YELLOW]


def style() -> None:
    """Set matplotlib's defaults for the course: size, fonts, colours, a light grid."""
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "savefig.facecolor": "white",
        }
    )


def interval_plot(
    table: pd.DataFrame, label: str, reference: str | None = None, ax: plt.Axes | None = None
) -> plt.Axes:
    """Means as dots with their intervals as lines, one row a model, best on top.

    ``table`` has columns ``mean``, ``low`` and ``high`` (from ``evaluation.compare``) and the
    models as its index; ``label`` names the axis, with its unit; ``reference`` draws a
    vertical line through that model's mean.
    """
    ax = ax or plt.subplots(figsize=(7, 0.6 + 0.32 * len(table)))[1]
    ordered = table.sort_values("mean")
    # A row without spread, such as chance, may lie a rounding error outside its interval.
    errors = [(ordered["mean"] - ordered[end]).abs() for end in ("low", "high")]
    ax.errorbar(ordered["mean"], range(len(ordered)), xerr=errors, fmt="o", capsize=3)
    ax.set_yticks(range(len(ordered)), ordered.index)
    ax.set_xlabel(label)
    ax.grid(axis="y", visible=False)
    if reference is not None:
        ax.axvline(ordered.loc[reference, "mean"], color=BLACK, linestyle=":", linewidth=1)
    return ax
