"""Fields painted for tests: discs of known place and size in the colours of a stained smear."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

GROUND, RED, PALE, NUCLEUS, CYTOPLASM = (
    (198, 200, 197),
    (184, 164, 168),
    (194, 188, 188),
    (118, 92, 178),
    (176, 158, 196),
)


Colour = tuple[int, int, int]
Densities = tuple[float, float, float]


@dataclass(frozen=True)
class Stain:
    """The colours of a field."""

    ground: Colour = GROUND
    red: Colour = RED
    pale: Colour = PALE
    nucleus: Colour = NUCLEUS
    cytoplasm: Colour = CYTOPLASM

    @classmethod
    def of(
        cls, ground: Colour, red: tuple[float, ...], nucleus: tuple[float, ...], cytoplasm: tuple[float, ...]
    ) -> Stain:
        """From the ground's colour and the optical densities of R, G and B over it."""

        def seen(density: Densities, share: float = 1.0) -> Colour:
            red, green, blue = (round(g * 10 ** (-share * d)) for g, d in zip(ground, density, strict=True))
            return red, green, blue

        return cls(ground, seen(red), seen(red, 0.4), seen(nucleus), seen(cytoplasm))


ORDINARY = Stain()


@dataclass
class Smear:
    """A field to paint on, four times enlarged while painting so that edges are smooth."""

    height: int = 480
    width: int = 640
    zoom: int = 4
    stain: Stain = ORDINARY
    canvas: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.canvas = np.full((self.height * self.zoom, self.width * self.zoom, 3), self.stain.ground, np.uint8)

    def disc(self, x: float, y: float, diameter: float, colour: tuple[int, int, int]) -> Smear:
        z = self.zoom
        cv2.circle(self.canvas, (round(x * z), round(y * z)), round(diameter * z / 2), colour, -1)
        return self

    def red(self, x: float, y: float, diameter: float) -> Smear:
        return self.disc(x, y, diameter, self.stain.red).disc(x, y, diameter / 3, self.stain.pale)

    def white(self, x: float, y: float, diameter: float, nucleus: float) -> Smear:
        return self.disc(x, y, diameter, self.stain.cytoplasm).disc(x, y, nucleus, self.stain.nucleus)

    def picture(self, blur: float = 1.0, seed: int = 0) -> NDArray[np.uint8]:
        small = cv2.resize(self.canvas, (self.width, self.height), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), blur)
        noise = np.random.default_rng(seed).integers(-2, 3, small.shape)
        return np.clip(small.astype(int) + noise, 0, 255).astype(np.uint8)


def with_red_cells(
    diameter: float,
    *,
    height: int = 480,
    width: int = 640,
    leave: tuple[float, float, float] = (0, 0, 0),
    stain: Stain = ORDINARY,
) -> Smear:
    """Red cells of one size on a loose grid, none within ``leave`` (x, y, radius)."""
    smear = Smear(height, width, stain=stain)
    pitch = 1.35 * diameter
    random = np.random.default_rng(1)
    for y in np.arange(0.7 * diameter, height - 0.6 * diameter, pitch):
        for x in np.arange(0.7 * diameter, width - 0.6 * diameter, pitch):
            px, py = x + random.uniform(-3, 3), y + random.uniform(-3, 3)
            if np.hypot(px - leave[0], py - leave[1]) > leave[2] + 0.6 * diameter:
                smear.red(px, py, diameter * random.normal(1, 0.03))
    return smear
