"""Extract ``tests/golden/losses`` from the full reference numbers: ``python make_loss_fixtures.py DIR``.

DIR holds ``losses/`` with inputs.npz, cases_f64.json and outputs_f64.npz of the official code. Inputs are kept whole.
Of gradients longer than 200 entries a fingerprint is kept, see ``tests/losses/official.py``.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).parents[1] / "losses"))
from official import DELTAS, FIXTURES, FUNCTIONS, fingerprint, official_name  # noqa: E402


def main(source: Path) -> None:
    cases = json.loads((source / "cases_f64.json").read_text())
    inputs, outputs = np.load(source / "inputs.npz"), np.load(source / "outputs_f64.npz")
    kept, arrays = {}, {}
    for name, case in cases.items():
        arrays.update({f"{name}.{what}": inputs[f"{name}.{what}"] for what in ("logits", "targets")})
        arrays[f"{name}.regression_losses"] = inputs[f"{name}.regression_losses"]
        results = {}
        for delta in DELTAS:
            if (rank := f"{name}.d{delta}.aLRPLoss.rank") in outputs:
                arrays[f"{name}.{delta}.aLRPLoss.rank"] = outputs[rank]
            for function in (*FUNCTIONS, "aLRPLoss"):
                key = official_name(function, case)
                result = case["results"][str(delta)][key]
                results[f"{delta}.{function}"] = {"status": result["status"], "losses": result.get("losses")}
                if (gradient := f"{name}.d{delta}.{key}.grad") in outputs:
                    arrays[f"{name}.{delta}.{function}"] = fingerprint(outputs[gradient])
        kept[name] = {"pos_neg_tie": case["pos_neg_tie"], "note": case["note"], "results": results}
    FIXTURES.mkdir(exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in kept.items())
    (FIXTURES / "cases.json").write_text(f"{{\n{lines}\n}}\n")
    compressed = lzma.compress(save(arrays), preset=9 | lzma.PRESET_EXTREME)
    (FIXTURES / "arrays.safetensors.xz").write_bytes(compressed)


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "losses")
