from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from brs_detr.errors import UserError
from brs_detr.mm import ops
from brs_detr.mm.ops import implementations
from brs_detr.mm.ops.deformable_attention import find_operator
from brs_detr.mm.ops.extension import SUPPLIED

FAKE_COMPILED = """
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *args, **kwargs: f"compiled {name}"
"""


def run_python(code: str, *arguments: str) -> str:
    """Return the output of a new interpreter."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_install_is_light_and_idempotent():
    output = run_python(
        """
        import sys
        from brs_detr.mm import ops
        ops.install()
        count = len(sys.meta_path)
        ops.install()
        print(len(sys.meta_path) - count, [name for name in ("torch", "mmcv", "numpy") if name in sys.modules])
        """
    )
    assert output.split(maxsplit=1) == ["0", "[]\n"]


def test_mmcv_ops_needs_nothing_but_install():
    output = run_python(
        """
        from brs_detr.mm import ops
        ops.install()
        import mmcv.ops
        from mmengine.utils.dl_utils import mmcv_full_available
        print(mmcv.ops.__name__, mmcv.ops.get_compiler_version(), mmcv_full_available())
        """
    )
    assert output.startswith("mmcv.ops none: brs_detr.mm.ops on torchvision")
    assert output.endswith("True\n")


def test_the_extension_is_found_where_python_has_no_find_loader():
    output = run_python(
        """
        import pkgutil
        vars(pkgutil).pop("find_loader", None)  # as in Python 3.14
        from brs_detr.mm import ops
        ops.install()
        from mmengine.utils.dl_utils import mmcv_full_available
        print(mmcv_full_available(), pkgutil.find_loader("json").name, pkgutil.find_loader("no_such_module"))
        """
    )
    assert output == "True json None\n"


def test_a_compiled_extension_is_left_alone(tmp_path: Path):
    (tmp_path / "_ext.py").write_text(FAKE_COMPILED)
    output = run_python(
        """
        import sys
        import mmcv
        mmcv.__path__.append(sys.argv[1])
        from mmcv.utils import ext_loader
        from brs_detr.mm import ops
        from brs_detr.mm.platform import prepare
        prepare()
        import mmcv.ops
        from mmcv.ops import multi_scale_deform_attn
        print(ext_loader.load_ext("_ext", ["nms"]).nms())
        print(ops.is_compiled())
        print({(implementation.provider, implementation.reason) for implementation in ops.implementations()})
        print(multi_scale_deform_attn.MultiScaleDeformableAttnFunction.__module__)
        """,
        str(tmp_path),
    )
    assert output.splitlines() == [
        "compiled nms",
        "True",
        "{('mmcv', 'compiled extension found')}",
        "mmcv.ops.multi_scale_deform_attn",
    ]


def test_here_it_is_ours():
    import mmcv._ext

    assert mmcv._ext.__spec__.origin == "brs_detr.mm.ops"
    assert not ops.is_compiled()
    for home, names in SUPPLIED.items():
        for name in names:
            assert getattr(mmcv._ext, name).__module__ == f"brs_detr.mm.ops.{home}"


@pytest.mark.parametrize("op", ["nms_rotated", "carafe_forward", "sync_bn_forward_mean"])
def test_other_ops_fail_only_when_called(op):
    import mmcv._ext

    function = getattr(mmcv._ext, op)
    with pytest.raises(UserError, match=f"'{op}'") as raised:
        function(1, keyword=2)
    assert "mmcv>=2.1,<2.2" in raised.value.hint


def test_special_names_stay_unknown():
    import mmcv._ext

    assert not hasattr(mmcv._ext, "__wrapped__")


def test_every_op_names_its_provider_and_reason():
    listed = implementations()
    assert len({implementation.op for implementation in listed}) == len(listed) == 10
    assert all(implementation.provider and implementation.reason for implementation in listed)


def test_attention_follows_deformops(monkeypatch):
    def attention() -> str:
        return {implementation.op: implementation.provider for implementation in implementations()}[
            "multi_scale_deformable_attention"
        ]

    expected = "PyTorch grid_sample" if find_operator()[0] is None else "deformops (Triton)"
    assert attention() == expected
    monkeypatch.setattr("brs_detr.mm.ops.deformable_attention.find_operator", lambda: (print, "forced"))
    assert attention() == "deformops (Triton)"
