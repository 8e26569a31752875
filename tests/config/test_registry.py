from __future__ import annotations

import pytest

from brs_detr.config.config import explain_unknown_option, import_modules
from brs_detr.errors import UserError


def test_a_module_that_is_missing_is_named() -> None:
    import_modules({"custom_imports": {"imports": ["co_detr", "pathlib"]}})
    with pytest.raises(UserError, match="needs the module no_such_module"):
        import_modules({"custom_imports": {"imports": ["no_such_module"]}})


def test_an_unknown_option_is_explained() -> None:
    error = TypeError("class `Head` in x.py: Head.__init__() got an unexpected keyword argument 'num_querys'")
    explained = explain_unknown_option(error)
    assert explained is not None
    assert "Head" in explained.message
    assert "num_querys" in explained.message
    assert explain_unknown_option(TypeError("other")) is None
