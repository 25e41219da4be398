from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """Real recordings and the paper's specification, beside the repository."""
    if not (SHARED / "data" / "README.md").exists():
        pytest.skip(f"needs the real Sleep-EDF data in {SHARED}")
    return SHARED
