"""Set Vault up for one environment of this installation: engines, key, policies, roles, secrets.

    export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…     # who may set it up
    scripts/vault_init.py --environment production --from-env shop.env --credentials keys/

It can be repeated: what is there stays. SECRET_KEY and BACKUP_KEYS are made where there are none;
other secrets come from the file of --from-env, and one that differs is only replaced with
--replace. --credentials writes the secret that each role signs in with into a folder, readable by
its owner alone, where there is none yet. A role's id is its name: tenantry-production-api.

For development, --initialise FILE also initialises a Vault that was never used, unseals one that is
sealed, and signs in, all by the keys that it keeps in FILE.

Exit codes: 0 all is there; 1 Vault is away, sealed, or refuses; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

import hvac
from pydantic import ValidationError

from app.integrations.vault_setup import ROLES, Setup, Step
from app.settings import Environment, unusable
from app.settings.vault import VaultAccess
from app.settings.vault_client import VaultFault, connect, told
from embedded.environment import EnvironmentFile, write_private

_PATIENCE_SECONDS = 30.0
_ACTIVE = 200


def main() -> None:
    arguments = parse()
    try:
        access = VaultAccess(environment=arguments.environment, use_vault=False)
    except ValidationError as error:
        raise unusable(error) from None
    if not access.vault_addr:
        sys.exit("VAULT_ADDR names no Vault.")
    vault = connect(access, token=os.environ.get("VAULT_TOKEN", ""))
    steps: list[Step] = []
    try:
        with told(access.vault_addr):
            for step in set_up(vault, access, arguments):
                steps.append(step)
                if not arguments.json:
                    print(f"{step.state:<7}  {step.what}")
    except VaultFault as fault:
        sys.exit(str(fault))
    if arguments.json:
        print(json.dumps([{"what": step.what, "state": step.state} for step in steps]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--environment",
        type=Environment,
        choices=list(Environment),
        default=Environment(os.environ.get("ENVIRONMENT") or Environment.PRODUCTION),
        help="whose secrets: default ENVIRONMENT, else production",
    )
    parser.add_argument(
        "--from-env", type=Path, metavar="FILE", help="KEY=value lines; what is secret is taken"
    )
    parser.add_argument(
        "--replace", action="store_true", help="what the file has wins over what Vault has"
    )
    parser.add_argument("--credentials", type=Path, metavar="FOLDER", help="write {role}.secret-id")
    parser.add_argument(
        "--rotate-days",
        type=int,
        default=0,
        metavar="DAYS",
        help="let Vault rotate the key of stored secrets so often",
    )
    parser.add_argument(
        "--initialise", type=Path, metavar="FILE", help="development: keep Vault's own keys there"
    )
    parser.add_argument("--shares", type=int, default=1, help="with --initialise: keys in all")
    parser.add_argument("--threshold", type=int, default=1, help="and how many of them unseal")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def set_up(
    vault: hvac.Client, access: VaultAccess, arguments: argparse.Namespace
) -> Iterator[Step]:
    if arguments.initialise:
        yield from opened(vault, arguments)
    given: dict[str, str] = {}
    if arguments.from_env:
        lines = EnvironmentFile(arguments.from_env).read()
        given = {name.lower(): value for name, value in lines.items()}
    setup = Setup(vault, access)
    yield from setup.run(given, replace=arguments.replace, rotate_days=arguments.rotate_days)
    if arguments.credentials:
        arguments.credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ROLES:
            yield credentials(setup, role, arguments.credentials)


def opened(vault: hvac.Client, arguments: argparse.Namespace) -> Iterator[Step]:
    """Initialised, unsealed, and signed in where VAULT_TOKEN says nothing else."""
    file: Path = arguments.initialise
    if not vault.sys.is_initialized():
        keys = vault.sys.initialize(arguments.shares, arguments.threshold)
        write_private(file, json.dumps(keys, indent=2))
        yield Step(f"keys of Vault in {file}", "made")
    if not file.exists():
        sys.exit(f"Vault was initialised before, and {file} is not there.")
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if vault.sys.is_sealed():
        vault.sys.submit_unseal_keys(kept["keys_base64"])
        yield Step("unsealed", "changed")
    vault.token = vault.token or kept["root_token"]
    wait_until_active(vault)


def wait_until_active(vault: hvac.Client) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while vault.sys.is_sealed() or not vault.sys.read_health_status(method="GET").get(
        "initialized"
    ):
        if time.monotonic() > deadline:
            sys.exit("Vault was given its keys and did not open.")
        time.sleep(0.1)


def credentials(setup: Setup, role: str, folder: Path) -> Step:
    """A secret that lies in the folder is taken for good: delete the file for a new one."""
    secret = folder / f"{role}.secret-id"
    if secret.exists():
        return Step(f"secret of {role} in {secret}", "there")
    write_private(secret, setup.new_secret_id(role))
    return Step(f"secret of {role} in {secret}", "made")


if __name__ == "__main__":
    main()
