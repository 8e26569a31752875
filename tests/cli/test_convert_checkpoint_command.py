from __future__ import annotations

import pytest
from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.errors import UserError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat, dog", ("cat", "dog")),
        ('"cat, dog",ant, "a,b"', ("cat, dog", "ant", "a,b")),
        ('12" pipe,x', ('12" pipe', "x")),
    ],
)
def test_class_names_in_quotation_marks_may_hold_commas(
    text: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, class_names: tuple[str, ...], **__: object) -> None:
        raise UserError(f"names: {class_names!r}")

    monkeypatch.setattr("brs_detr.checkpoints.convert_checkpoint.convert_checkpoint", refuse)
    result = CliRunner().invoke(main, ["convert-checkpoint", "a.pth", "b.safetensors", "--class-names", text])
    assert f"names: {names!r}" in result.stderr
