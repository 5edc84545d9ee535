"""Draw how runs learn, from their log.jsonl into one SVG: the loss, the presence loss, the Dice.

    python -m benchmarks.curve RUN [RUN …] --out docs/learning.svg

Loss: of the logged updates, on a logarithmic axis. Presence: the term of the loss that asks whether a concept is in the
image at all; 0.35 means no idea. Dice: of the masks with the highest score, mean over datasets of the split that
is validated on (run.validate_on).
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Points = list[tuple[float, float]]

WIDTH, HEIGHT, LEFT, GAP, TOP, BOTTOM = 380, 240, 48, 20, 28, 36  # px of a panel
COLOURS = ("#0b6e99", "#c1440e", "#4c8c2b", "#7a3e9d")
AXES = {  # name: (title, lowest, highest, ticks)
    "loss": ("loss", 10, 1000, (10, 30, 100, 300, 1000)),
    "presence": ("presence loss", 0, 0.5, (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "top1": ("Dice, mean of datasets", 0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
}


def read(run: Path) -> dict[str, Points]:
    """Points (step, value) of each panel."""
    points: dict[str, Points] = {name: [] for name in AXES}
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = {"loss": row["loss"], **row["terms"]} if "loss" in row else row.get("validation", {})
        for name in AXES.keys() & values.keys():
            points[name].append((row["step"], values[name]))
    return points


def panel(name: str, runs: Sequence[Points], last: float, left: float) -> list[str]:
    """The SVG elements of one panel whose x axis goes to `last` updates."""
    title, low, high, ticks = AXES[name]

    def x(step: float) -> float:
        return left + LEFT + (WIDTH - LEFT) * step / last

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        if name == "loss":
            share = math.log(max(value, low) / low) / math.log(high / low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(share, 0), 1))

    out = [f'<text x="{left + LEFT}" y="{TOP - 10}" class="title">{escape(title)}</text>']
    for tick in ticks:
        out.append(f'<path d="M{x(0):.1f} {y(tick):.1f}H{x(last):.1f}" class="grid"/>')
        out.append(f'<text x="{x(0) - 6:.1f}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for share in (0, 0.5, 1):
        step = round(last * share)
        out.append(f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{step}</text>')
    out.append(f'<text x="{x(last / 2):.1f}" y="{HEIGHT - 4}" text-anchor="middle">update</text>')
    for points, colour in zip(runs, COLOURS):
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    return out


def draw(runs: Sequence[Path]) -> str:
    """The whole picture."""
    read_runs = [read(run) for run in runs]
    last = max(step for points in read_runs for step, _ in points["loss"])
    width, height = len(AXES) * (WIDTH + GAP), HEIGHT + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        "<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for place, name in enumerate(AXES):
        out += panel(name, [points[name] for points in read_runs], last, place * (WIDTH + GAP))
    for place, (run, colour) in enumerate(zip(runs, COLOURS)):
        left = LEFT + 160 * place
        out.append(f'<path d="M{left} {HEIGHT + 12}h24" stroke="{colour}" stroke-width="3"/>')
        out.append(f'<text x="{left + 30}" y="{HEIGHT + 16}">{escape(run.name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help=f"at most {len(COLOURS)} folders of runs"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if len(args.runs) > len(COLOURS):
        parser.error(f"{len(args.runs)} runs; there are colours for {len(COLOURS)}")
    args.out.write_text(draw(args.runs), encoding="utf-8")


if __name__ == "__main__":
    main()
