"""Cut the names and shapes of the six full-size official models down to one small file.

Usage: python tests/golden/make_key_fixture.py FOLDER_WITH_ALL_NUMBERS
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path


def main(source: Path) -> None:
    content = json.loads((source / "facts" / "state_dict_keys_full_size.json").read_text())
    text = json.dumps(content, separators=(",", ":"))
    target = Path(__file__).parent / "models" / "state_dict_keys_full_size.json.xz"
    target.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
