"""Draw the rooms of the package and who imports whom, from the imports themselves, as docs/pictures/rooms.svg.

python benchmarks/rooms.py            # writes the picture
python benchmarks/rooms.py --check    # exit 1 when the picture in docs/ is not that of the code
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from html import escape
from pathlib import Path

HOME = Path(__file__).parents[1]
PACKAGE = HOME / "src" / "leukoscope"
PICTURE = HOME / "docs" / "pictures" / "rooms.svg"
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#667080"/></marker></defs>'
)
BOX, GAP, ROW = (148, 36), 22, 80  # pixels


def rooms() -> dict[str, tuple[int, int]]:
    """Files and lines of each room, a folder of the package."""
    sizes = {}
    for folder in sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        files = sorted(folder.rglob("*.py"))
        sizes[folder.name] = (len(files), sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files))
    return sizes


def imports() -> dict[str, set[str]]:
    """For each room the other rooms that it imports, also those imported inside functions."""
    known = set(rooms())
    arrows: dict[str, set[str]] = defaultdict(set)
    for room in known:
        for file in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leukoscope."):
                    other = str(node.module).split(".")[1]
                    if other in known - {room}:
                        arrows[room].add(other)
    return arrows


def floors() -> list[list[str]]:
    """Rooms by the layers of the import contract, from the top; rooms on one floor do not know each other."""
    contracts = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract for contract in contracts if contract["type"] == "layers" and "containers" not in contract)[
        "layers"
    ]
    known = rooms()
    listed = [[name.strip().removeprefix("leukoscope.") for name in layer.split("|")] for layer in layers]
    return [floor for layer in listed if (floor := [name for name in layer if name in known])]


def svg() -> str:
    """The picture: one floor a line, an arrow for each import that is not implied by a longer way down."""
    arrows, levels = imports(), floors()
    width = max(len(floor) for floor in levels) * (BOX[0] + GAP) + 60
    at = {}
    for line, floor in enumerate(levels):
        left = (width - len(floor) * (BOX[0] + GAP) + GAP) / 2
        for column, name in enumerate(floor):
            at[name] = (left + column * (BOX[0] + GAP), 12 + line * ROW)
    below = {room: set().union(*(_reach(other, arrows) for other in arrows[room]), set()) for room in at}
    height = 12 + len(levels) * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-family="sans-serif">',
        _TIP,
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for room, (x, y) in at.items():
        for other in sorted(arrows[room] - below[room]):
            u, v = at[other]
            parts.append(
                f'<path d="M{x + BOX[0] / 2:.0f} {y + BOX[1]:.0f} C{x + BOX[0] / 2:.0f} {y + BOX[1] + 24:.0f} '
                f'{u + BOX[0] / 2:.0f} {v - 24:.0f} {u + BOX[0] / 2:.0f} {v - 2:.0f}" fill="none" stroke="#667080" '
                'marker-end="url(#tip)"/>'
            )
    for room, (x, y) in at.items():
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="#eef3f8" stroke="#0072b2"/>'
            f'<text x="{x + BOX[0] / 2:.0f}" y="{y + 23}" text-anchor="middle" font-weight="bold">{escape(room)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _reach(room: str, arrows: dict[str, set[str]]) -> set[str]:
    """All rooms below ``room``."""
    return arrows[room] | set().union(*(_reach(other, arrows) for other in arrows[room]), set())


def main() -> None:
    """Write the picture, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(PICTURE.read_text(encoding="utf-8") != svg())
    PICTURE.write_text(svg(), encoding="utf-8")
    for room, (files, lines) in rooms().items():
        print(f"{room:<12}{files:>5} files{lines:>8,} lines")


if __name__ == "__main__":
    main()
