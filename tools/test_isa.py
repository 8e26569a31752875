"""Run the numerical tests as other processors would: `make test-isa`.

PyTorch and oneDNN choose their kernels by what a processor can do, and each kernel rounds in its own way. The variables
below make them forget what this one can do; what it cannot do is named and left out. So are the tests of faults (kills,
locks, refusals), which hang on no number. Arguments go to pytest.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

FOLDERS = ("ops", "losses", "heads", "co_detr", "export", "engine", "runtime")

SETTINGS = (
    ("default", "AVX2", "avx2"),
    ("avx2", "AVX512_CORE", "avx512f"),
    ("avx512", "ALL", "avx512f"),
)
"""ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA, and the flag of a processor that has both."""


def processor_flags() -> set[str]:
    """What this processor says it can do; nothing where it does not say."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return set(found[1].split()) if found else set()


def run(aten: str, onednn: str, num_threads: int, arguments: list[str]) -> tuple[bool, str]:
    """Run the tests; whether they passed, and the last line of pytest."""
    environment = {
        **os.environ,
        "ATEN_CPU_CAPABILITY": aten,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "BRS_DETR_TEST_THREADS": str(num_threads),
    }
    workers = max((os.cpu_count() or 1) // num_threads, 1)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", f"--numprocesses={workers}"]
    command += ["--dist=loadfile", "-m", "not fault", *arguments, *(f"tests/{folder}" for folder in FOLDERS)]
    lines = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    return process.returncode == 0, next((line for line in reversed(lines) if line), "no output")


def main() -> int:
    """Run every setting that this processor can show."""
    flags, rows, all_passed = processor_flags(), [], True
    for aten, onednn, flag in SETTINGS:
        for num_threads in (1, 2):
            name = f"ATEN_CPU_CAPABILITY={aten} ONEDNN_MAX_CPU_ISA={onednn}, {num_threads} threads"
            if flag not in flags:
                rows.append(f"{name}: skipped, this processor ({platform.machine()}) has no {flag}")
                continue
            print(f"\n{name}", flush=True)
            started = time.perf_counter()
            passed, last = run(aten, onednn, num_threads, sys.argv[1:])
            all_passed &= passed
            rows.append(f"{name}: {last.strip('= ')} ({time.perf_counter() - started:.0f} s in all)")
    print("\n" + "\n".join(rows))
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
