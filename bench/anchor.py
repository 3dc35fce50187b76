"""Where the project lies; importing this makes its packages importable."""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BACKEND: Final = ROOT / "backend"

sys.path.insert(0, str(BACKEND))
