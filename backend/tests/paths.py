"""Where things lie in the project, for tests that read it."""

from pathlib import Path
from typing import Final

BACKEND: Final = Path(__file__).resolve().parents[1]
PROJECT: Final = BACKEND.parent
APP: Final = BACKEND / "app"
