"""Cut the reference numbers of the official reduced models down to what fits in the repository.

Usage: python tests/golden/make_model_fixtures.py FOLDER_WITH_ALL_NUMBERS
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

EVAL_PREFIXES = ("all_", "single.", "det.", "simple_test.", "one-stage.", "two-stage.", "topk_")
SUMMARY_KEYS = ("losses", "total_loss", "grad_norms")
IMAGE_SCALE = 32  # makes the pixels integers


def save_compressed(arrays: dict[str, np.ndarray], path: Path) -> None:
    path.write_bytes(lzma.compress(save(arrays), preset=9 | lzma.PRESET_EXTREME))


def rounded(numbers):
    """Ten digits of every number: a thousand times finer than the tests ask for."""
    if isinstance(numbers, dict):
        return {key: rounded(value) for key, value in numbers.items()}
    if isinstance(numbers, list):
        return [rounded(value) for value in numbers]
    return float(f"{numbers:.10g}") if isinstance(numbers, float) else numbers


def main(source: Path) -> None:
    target = Path(__file__).parent / "models"
    target.mkdir(exist_ok=True)
    shutil.copyfile(source / "batches.json", target / "batches.json")
    images = np.load(source / "images.npz")["images"] * IMAGE_SCALE
    assert (images == images.astype(np.int16)).all()
    save_compressed({"images": images.astype(np.int16)}, target / "images.safetensors.xz")
    for name in ("codetr", "brs"):
        folder = target / name
        folder.mkdir(exist_ok=True)
        save_compressed(load_file(source / name / "weights.safetensors"), folder / "weights.safetensors.xz")
        outputs = np.load(source / name / "eval_f64.npz")
        np.savez_compressed(
            folder / "eval_f64.npz", **{key: outputs[key] for key in outputs.files if key.startswith(EVAL_PREFIXES)}
        )
        batches = json.loads((source / name / "summary_f64.json").read_text())["batches"]
        compact = {batch: {key: rounded(numbers[key]) for key in SUMMARY_KEYS} for batch, numbers in batches.items()}
        (folder / "summary_f64.json").write_text(json.dumps({"batches": compact}, separators=(",", ":")))


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "models")
