import os

# Before torch is imported: threads that share a small network wait for one another. Notebook kernels have one, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SLEEPKIT_QUIET", "1")
os.environ.setdefault("SLEEPKIT_DEVICE", "cpu")

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """Real recordings and the paper's specification, beside the repository."""
    if not (SHARED / "data" / "README.md").exists():
        pytest.skip(f"needs the real Sleep-EDF data in {SHARED}")
    return SHARED
