"""mmengine and mmdet can be imported once the platform is prepared."""

from brs_detr.mm.platform import prepare

prepare()
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from tiny_runs import one_thread  # noqa: E402, F401

from brs_detr.data.synthetic.shapes import make_shapes  # noqa: E402


@pytest.fixture(scope="session")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 training and 4 held-out pictures with the outline of every object."""
    folder = tmp_path_factory.mktemp("data") / "outlined"
    make_shapes(folder, 6, 4, (64, 64), seed=3, masks=True)
    return folder
