"""docs/security.md names every place in the installed libraries that could run code from a config."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mmcv
import mmdet
import mmengine

from brs_detr.mm.platform import prepare

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMES = {
    *("eval", "exec", "__import__", "import_module", "get_object_from_string", "fromfile", "fromstring"),
    *("load_checkpoint", "_load_checkpoint", "load_url", "urlopen"),
}
OF_MODULES = {("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("yaml", "load")}
SOURCES = {
    mmdet: ("models", "structures", "datasets", "engine", "evaluation"),
    mmcv: ("",),
    mmengine: ("",),
}


def acting_calls(tree: ast.AST) -> Iterator[str]:
    """Return the names of calls that evaluate, execute, import, unpickle or download; not `model.eval()`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in NAMES:
            yield called.id
        elif isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if (owner, called.attr) in OF_MODULES or (called.attr in NAMES - {"eval"} and owner != "np"):
                yield f"{owner}.{called.attr}"


def acting_files() -> set[str]:
    found = set()
    for package, folders in SOURCES.items():
        root = Path(package.__file__).parent
        for file in (file for folder in folders for file in (root / folder).rglob("*.py") if ".mim" not in file.parts):
            if any(acting_calls(ast.parse(file.read_text(encoding="utf-8")))):
                found.add(file.relative_to(root.parent).as_posix())
    return found


def test_every_place_that_could_act_is_in_the_table() -> None:
    prepare()
    missing = [file for file in sorted(acting_files()) if f"`{file}`" not in PAGE]
    assert not missing


def test_what_counts_as_acting() -> None:
    tree = ast.parse("eval(a); torch.load(b); Config.fromfile(c); model.eval(); np.fromfile(d)")
    assert list(acting_calls(tree)) == ["eval", "torch.load", "Config.fromfile"]
