"""The type of activations in training and search: float32, or bfloat16 while all that is learnt stays float32."""

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose(precision):
    """The precision itself, and for "auto" bfloat16 where the GPU, or else the processor, multiplies it natively.

    ValueError for another name."""
    if precision == "auto":
        return "bfloat16" if multiplies_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join((*PRECISIONS, 'auto'))}")
    return precision


def multiplies_bfloat16():
    """Whether there is a GPU with bfloat16, or without one a processor with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch before 2.7 does not tell.
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
