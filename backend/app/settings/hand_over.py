"""Gives a command the secrets that lie in Vault: ``python -m app.settings.hand_over COMMAND …``.

The command gets them as variables of its environment, never as arguments, and takes this process's
place: its signals, its exit code and its number are the command's. Without USE_VAULT it gets the
environment as it is. Where Vault does not answer, the command is not started.
"""

import os
import sys
from typing import Final, NoReturn

from pydantic import ValidationError

from app.settings import InvalidSettings, Settings, unusable
from app.settings.stored import read_stored, signed_in
from app.settings.vault import VaultAccess
from app.settings.vault_client import VaultFault

# As shells have it.
_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127


def main(command: list[str]) -> NoReturn:
    if not command:
        sys.stderr.write("Name a command.\n")
        sys.exit(2)
    environment = {**os.environ, **_secrets()}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  # what it is for
    except FileNotFoundError:
        code = _NOT_FOUND
    except OSError:
        code = _NOT_EXECUTABLE
    sys.stderr.write(f"{command[0]} cannot be started.\n")
    sys.exit(code)


def _secrets() -> dict[str, str]:
    try:
        access = VaultAccess()
        if not access.use_vault:
            return {}
        with signed_in(access) as client:
            return read_stored(client, access, known=Settings.model_fields).environment
    except ValidationError as error:
        raise unusable(error) from None
    except VaultFault as fault:
        raise InvalidSettings(f"VAULT: {fault}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
