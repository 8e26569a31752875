"""Compile every kernel for an NVIDIA architecture, with no GPU: `python compile_kernels.py 90`. Prints their number."""

from __future__ import annotations

import itertools
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from brs_detr.losses.cuda import kernels as module
from brs_detr.losses.cuda.launch import SMALLEST_RAMP

DTYPES = [("fp32", "fp32"), ("bf16", "fp32"), ("fp64", "fp64")]  # of the logits, of the results
VARIANTS = [
    {"DELTA": 0.5, "BUCKETED": False, "INTERPOLATED": False, "SORTING": True},
    {"DELTA": 0.0, "BUCKETED": True, "INTERPOLATED": True, "SORTING": False},
]
INTEGERS = {"found_inds", "inds", "owners", "end_inds", "is_valid"}
LONG_INTEGERS = {"counters", "sums", "bucket_sums"}
NUMBERS = {"num_logits", "targets_stride", "capacity", "slots", "num_rows"}
PAIRWISE = {"order_positives", "relate_positives", "write_sorting_gradient"}


def kernels() -> dict[str, triton.JITFunction]:
    found = {name: kernel for name, kernel in vars(module).items() if isinstance(kernel, triton.JITFunction)}
    return {name: kernel for name, kernel in found.items() if not name.startswith("_")}


def argument_type(name: str, logits: str, results: str) -> str:
    if name.isupper():
        return "constexpr"
    if name in NUMBERS:
        return "i32"
    if name in INTEGERS:
        return "*i32"
    if name in LONG_INTEGERS:
        return "*i64"
    if name == "logits":
        return f"*{logits}"
    return f"*{results}" if name in {"targets", "gradient", "values"} else "*fp64"


def compile_for(capability: int) -> int:
    count = 0
    for (logits, results), variant in itertools.product(DTYPES, VARIANTS):
        for name, kernel in kernels().items():
            constants = variant | {
                "RAMP": max(2 * variant["DELTA"], SMALLEST_RAMP),
                "COMPUTE": tl.float64 if logits == "fp64" else tl.float32,
                "NUM_STEPS": 17,
                "BITS": 41,
                "BLOCK": 64 if name in PAIRWISE else 1024,
            }
            signature = {argument: argument_type(argument, logits, results) for argument in kernel.arg_names}
            source = ASTSource(kernel, signature, {name: constants[name] for name in signature if name.isupper()})
            binary = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            count += "cubin" in binary.asm
    return count


if __name__ == "__main__":
    print(compile_for(int(sys.argv[1])))
