"""Write swagger.yaml from the routes; with --check, only say whether it is up to date.

Exit codes: 0 written, or up to date; 1 --check found it outdated; 2 wrong arguments.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

from cryptography.fernet import Fernet

from app.core.openapi import generate_yaml
from app.factory import create_app
from app.settings import Environment, Settings

# The contract does not depend on them, and nothing is connected to.
NOWHERE = "postgresql://nobody@localhost:1/nowhere"
PLACEHOLDERS = Settings(
    environment=Environment.DEVELOPMENT,
    installation_id="contract",
    secret_key="x" * 32,
    secrets_keys=Fernet.generate_key().decode(),
    database_url=NOWHERE,
    provisioner_url=NOWHERE,
    redis_url="redis://localhost:1/0",
    storage_path=Path("unused"),
    password_hash_memory_kib=32,
    password_hash_passes=1,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if outdated")
    arguments = parser.parse_args()
    path = ROOT / "swagger.yaml"
    text = generate_yaml(create_app(PLACEHOLDERS))
    if arguments.check:
        sys.exit(0 if path.exists() and path.read_text() == text else "swagger.yaml is outdated")
    path.write_text(text)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
