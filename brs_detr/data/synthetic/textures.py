"""Textured grounds for synthetic pictures."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rgb = NDArray[np.float32]


def textured_ground(rng: np.random.Generator, size: tuple[int, int]) -> Rgb:
    """Paint a muted ground: two tones mixed by cloudy noise, sometimes woven or striped, with grain.

    Args:
        rng: source of all randomness.
        size: (h, w) in pixels.

    Returns:
        [h, w, 3] float32 in 0..255.
    """
    height, width = size
    dark, light = _two_tones(rng)
    mix = cloudy_noise(rng, size)[..., None]  # [h, w, 1]
    ground = dark * (1 - mix) + light * mix
    ground += _pattern(rng, size)[..., None] * rng.uniform(3, 14)
    ground += rng.normal(0, rng.uniform(1.5, 6), (height, width, 1))
    return np.clip(ground, 0, 255).astype(np.float32)


def cloudy_noise(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Smooth noise from coarse to fine, stretched to 0..1, shape [h, w]."""
    height, width = size
    total = np.zeros(size, dtype=np.float32)
    for octave, cells in enumerate((2, 5, 11, 24)):
        grid = rng.random((cells, cells), dtype=np.float32)
        total += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) * 0.55**octave
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def hsv(hue: float, saturation: float, value: float) -> Rgb:
    """Colour [3] in 0..255 from hue, saturation and value in 0..1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32) * 255


def _two_tones(rng: np.random.Generator) -> tuple[Rgb, Rgb]:
    hue, value = rng.random(), rng.uniform(0.18, 0.8)
    saturation = rng.uniform(0.05, 0.35)
    return hsv(hue, saturation, value), hsv(
        hue + rng.normal(0, 0.12), saturation, min(value + rng.uniform(0.1, 0.3), 1)
    )


def _pattern(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """Stripes, a weave or nothing, in -1..1."""
    y, x = np.mgrid[: size[0], : size[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 22)
    along = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    patterns = (along, along * across, np.zeros(size))
    return patterns[rng.integers(len(patterns))]
