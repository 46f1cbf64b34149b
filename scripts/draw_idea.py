#!/usr/bin/env python3
"""Draw the README's picture: the idea, and what it does to the chips of a comparison.

    hrat demo && python scripts/draw_idea.py hrat-demo/comparison.json        # into docs/images/idea.svg

The drawing is docs/images/idea.template.svg; the dots are the chips of the comparison that is given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SHOWN = {
    "plain": ("trained as usual, then mapped", "orange"),
    "variation-aware": ("trained with noise, then mapped", "soft"),
    "hrat": ("trained by hrat", "blue"),
}
LEFT, RIGHT, TOP, STEP = 290.0, 830.0, 352.0, 40.0


def main() -> int:
    """Command line."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = {row["method"]: row["accuracies"] for row in data["rows"]}
    low = min(min(rows[method]) for method in SHOWN) - 0.01
    high = max(max(rows[method]) for method in SHOWN) + 0.005
    lines = []
    for number, (method, (label, css)) in enumerate(SHOWN.items()):
        y, accuracies = TOP + STEP * number, rows[method]
        lines.append(f'<text x="40" y="{y + 5:.0f}" class="ink">{label}</text>')
        lines.append(f'<path class="thin" d="M{LEFT} {y} H{RIGHT}"/>')
        places = (LEFT + (RIGHT - LEFT) * (accuracy - low) / (high - low) for accuracy in accuracies)
        lines += [f'<circle class="{css}" cx="{x:.1f}" cy="{y}" r="5" opacity="0.7"/>' for x in places]
        mean, worst = 100 * sum(accuracies) / len(accuracies), 100 * min(accuracies)
        lines.append(f'<text x="{RIGHT + 14}" y="{y + 2:.0f}" class="ink">{mean:.1f} %</text>')
        lines.append(f'<text x="{RIGHT + 14}" y="{y + 17:.0f}" class="soft s">worst {worst:.1f} %</text>')
    text = (IMAGES / "idea.template.svg").read_text(encoding="utf-8")
    counts = f"{data['data']}: {data['n_train']:,} training images, {data['n_test']:,} test images; each dot is a chip"
    text = text.replace("@STRIPS@", "\n".join(lines)).replace("@FACTS@", data["spec_summary"]).replace("@DATA@", counts)
    (IMAGES / "idea.svg").write_text(text, encoding="utf-8")
    print(IMAGES / "idea.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
