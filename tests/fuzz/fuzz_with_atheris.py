"""Coverage-guided fuzzing of what reads text, for as long as one likes; `pip install atheris` first.

    python tests/fuzz/fuzz_with_atheris.py CORPUS -max_total_time=600

CORPUS is a folder that inputs are kept in; it begins with files of good datasets. A crash is an exception that is no
refusal in words; its input is written beside this run, and belongs into an `@example` of the hypothesis tests.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["brs_detr.data", "brs_detr.checkpoints", "brs_detr.config"]):
    from brs_detr.config.config import apply_overrides
    from brs_detr.config.config_text import parse_config_text
    from brs_detr.data.annotations import read_annotations
    from brs_detr.data.checks.cleaning import clean_annotations
    from brs_detr.data.formats.voc_file import read_voc_file
    from brs_detr.data.formats.yolo_labels import read_label_file
    from brs_detr.data.formats.yolo_yaml import read_data_yaml
from brs_detr.errors import UserError

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
CONFIG = {"model": {"heads": [{"lr": 0.1}], "size": (3, 4), "none": None}}


def read_coco(file: Path) -> None:
    clean_annotations(read_annotations(file), file)


def read_config(file: Path) -> None:
    parse_config_text(file.read_text(errors="replace"), "the checkpoint")


def override(file: Path) -> None:
    apply_overrides({key: dict(value) for key, value in CONFIG.items()}, [file.read_text(errors="replace")])


READERS = (
    read_coco,
    lambda file: read_voc_file(file, "an annotation"),
    lambda file: read_label_file(file, "a label file"),
    read_data_yaml,
    read_config,
    override,
)


def test_one_input(data: bytes) -> None:
    """The first byte says which reader, the others are the file."""
    file = FOLDER / "input"
    file.write_bytes(data[1:])
    with suppress(UserError):
        READERS[data[0] % len(READERS) if data else 0](file)


def write_seeds(corpus: Path) -> None:
    """Put files of good datasets into an empty corpus."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from good_data import WRITERS

    corpus.mkdir(parents=True, exist_ok=True)
    for number, (suffix, form) in enumerate(
        ((".json", "COCO"), (".xml", "Pascal VOC"), (".txt", "YOLO"), (".yaml", "YOLO"))
    ):
        folder = WRITERS[form](FOLDER / form)
        file = next(path for path in sorted(folder.rglob(f"*{suffix}")))
        (corpus / f"seed{number}").write_bytes(bytes([number]) + file.read_bytes())
    (corpus / "seed4").write_bytes(b"\x04model = dict(backbone=dict(depth=50, indices=(0, 1)), flag=True)\n")
    (corpus / "seed5").write_bytes(b"\x05model.heads.0.lr=1e-3")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
