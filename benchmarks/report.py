"""What was measured, as a table, as sentences, and as a file."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_lab.evaluation import bootstrap_means, interval

N_BOOT = 2_000
EQUAL_RMSE = 0.002  # stars: so much worse still counts as equal


def quality(ours: list, theirs: list, kind: str) -> dict[str, Any]:
    """Mean quality of both and of their difference, each with its 95 % interval over users.

    Args:
        ours, theirs: (number of the split, array (n, 2) of user and value) of every repeat, the
            values being nDCG@10 or squared errors. A split that was fitted twice counts once.
        kind: "clicks" averages the values, "stars" takes the root of the mean (RMSE).

    Returns:
        ours, theirs and difference (ours - theirs): [mean, low, high]; n users; by_repeat: the
        quality of each repeat, [ours, theirs].
    """
    root = np.sqrt if kind == "stars" else np.asarray
    by_repeat = [
        [float(root(values[:, 1].mean())) for _, values in side] for side in (ours, theirs)
    ]
    once = [np.concatenate(list(dict(side).values())) for side in (ours, theirs)]  # (n, 2)
    users = once[0][:, 0]
    if not np.array_equal(users, once[1][:, 0]):
        raise ValueError("the two were judged on other users, or in another order")
    values = np.column_stack([side[:, 1] for side in once])  # (n, 2)
    draws = root(bootstrap_means(values, N_BOOT, 0, users))  # whole users are drawn
    mean = root(values.mean(axis=0))
    found = {
        name: [float(mean[side]), *map(float, interval(draws[:, side]))]
        for side, name in enumerate(("ours", "theirs"))
    }
    gap = interval(draws[:, 0] - draws[:, 1])
    found["difference"] = [float(mean[0] - mean[1]), *map(float, gap)]
    return found | {"n": len(np.unique(users)), "by_repeat": by_repeat}


def is_as_good(row: dict[str, Any]) -> bool:
    """Whether ours is not worse: by nDCG@10 measurably, by RMSE more than ``EQUAL_RMSE``."""
    difference, _, high = row["quality"]["difference"]
    return high >= 0 if row["metric"] == "nDCG@10" else difference <= EQUAL_RMSE


def ratios(row: dict[str, Any], what: str = "fit_s") -> np.ndarray:
    """Ours over theirs, repeat by repeat."""
    ours, theirs = (np.asarray(side) for side in row[what])
    return ours / theirs


def summary(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of one row: medians of seconds, their ratio with its range, MB, quality."""
    ours, theirs = row["fit_s"]
    scored = [np.add(fit, score) for fit, score in zip(row["fit_s"], row["score_s"])]
    memory = [side["peak_mb"] - side["imports_mb"] for side in row["memory"]]
    ratio = ratios(row)
    return {
        "ours_s": float(np.median(ours)),
        "theirs_s": float(np.median(theirs)),
        "ratio": float(np.median(ratio)),
        "ratio_low": float(ratio.min()),
        "ratio_high": float(ratio.max()),
        "ratio_scored": float(np.median(scored[0] / scored[1])),
        "ours_mb": memory[0],
        "theirs_mb": memory[1],
        "ours_quality": row["quality"]["ours"][0],
        "theirs_quality": row["quality"]["theirs"][0],
        "as_good": is_as_good(row),
    }


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of the whole run, a row a pair."""
    lines = []
    for row in rows:
        found = summary(row)
        lines.append(
            {
                "model": row["name"],
                "data": row["data"],
                "theirs": row["pair"]["theirs"],
                "quality ours": f"{found['ours_quality']:.4f}",
                "theirs ": f"{found['theirs_quality']:.4f}",
                "fit s ours": f"{found['ours_s']:.3f}",
                "theirs  ": f"{found['theirs_s']:.3f}",
                "ours / theirs": f"{found['ratio']:.3f} [{found['ratio_low']:.3f}, "
                f"{found['ratio_high']:.3f}]",
                "with scores": f"{found['ratio_scored']:.3f}",
                "MB ours": f"{found['ours_mb']:.0f}",
                "theirs   ": f"{found['theirs_mb']:.0f}",
            }
        )
    return pd.DataFrame(lines).set_index(["model", "data"])


def line(row: dict[str, Any]) -> str:
    """One row for the terminal, as soon as it is there."""
    found = summary(row)
    return (
        f"  {row['name']}, {row['data']}: {found['ours_s']:.3f} s, {row['pair']['theirs']} "
        f"{found['theirs_s']:.3f} s, ratio {found['ratio']:.3f}; {row['metric']} "
        f"{found['ours_quality']:.4f} and {found['theirs_quality']:.4f}; "
        f"{found['ours_mb']:.0f} and {found['theirs_mb']:.0f} MB"
    )


def broken_bounds(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each promise of `pairs.py` that was not kept."""
    sentences = []
    for row in rows:
        pair, found = row["pair"], summary(row)
        where = f"{row['name']}, {row['data']}"
        promised = pair["max_ratio"] is not None
        if promised and found["ratio"] > pair["max_ratio"]:
            sentences.append(
                f"{where}: ours takes {found['ratio']:.3f} of the seconds of {pair['theirs']}, at "
                f"most {pair['max_ratio']} is due"
            )
        if pair["max_seconds"] is not None and found["ours_s"] > pair["max_seconds"]:
            sentences.append(
                f"{where}: {found['ours_s']:.2f} s, at most {pair['max_seconds']} is due"
            )
        if promised and not found["as_good"]:
            sentences.append(
                f"{where}: {row['metric']} is {found['ours_quality']:.4f}, that of "
                f"{pair['theirs']} {found['theirs_quality']:.4f}"
            )
        if promised and found["ours_mb"] > found["theirs_mb"]:
            sentences.append(
                f"{where}: the peak is {found['ours_mb']:.0f} MB, that of {pair['theirs']} "
                f"{found['theirs_mb']:.0f} MB"
            )
    return sentences


# ---- files ---------------------------------------------------------------------------------
def as_json(value: Any) -> Any:
    """Plain numbers and lists, six digits after the point, nan as null."""
    if isinstance(value, dict):
        return {key: as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


def store(result: dict[str, Any], path: Path) -> None:
    """Write ``result`` as JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(as_json(result), indent=1) + "\n")
    unfinished.replace(path)


def processor() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
