"""Gives a command the secrets that lie in Vault: ``app.settings.hand_over [OPTION] COMMAND …``.

The command gets them as variables of its environment, never as arguments, and takes this process's
place: its signals, its exit code and its number are the command's. Without USE_VAULT it gets the
environment as it is. Where Vault does not answer, the command is not started. ``--only ENTRY,…``
gives it these entries alone, and nothing where one of them is missing.
"""

import os
import sys
from typing import Final, NoReturn

from pydantic import ValidationError

from app.settings import InvalidSettings, Settings, unusable
from app.settings.rules import split
from app.settings.stored import read_stored, signed_in
from app.settings.vault import ENTRIES, VaultAccess
from app.settings.vault_client import VaultFault

# As shells have it.
_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127
_ONLY: Final = "--only"


def main(command: list[str]) -> NoReturn:
    only: tuple[str, ...] = ()
    if command[:1] == [_ONLY]:
        only, command = split(command[1] if command[1:] else ""), command[2:]
        if not only or not set(only) <= ENTRIES.keys():
            sys.stderr.write(f"{_ONLY} takes of {', '.join(ENTRIES)}.\n")
            sys.exit(2)
    if not command:
        sys.stderr.write("Name a command.\n")
        sys.exit(2)
    environment = {**os.environ, **_secrets(only)}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  # what it is for
    except FileNotFoundError:
        code = _NOT_FOUND
    except OSError:
        code = _NOT_EXECUTABLE
    sys.stderr.write(f"{command[0]} cannot be started.\n")
    sys.exit(code)


def _secrets(only: tuple[str, ...]) -> dict[str, str]:
    try:
        access = VaultAccess()
        if not access.use_vault:
            return {}
        with signed_in(access) as client:
            stored = read_stored(client, access, known=Settings.model_fields, needed=only)
            return stored.environment
    except ValidationError as error:
        raise unusable(error) from None
    except VaultFault as fault:
        raise InvalidSettings(f"VAULT: {fault}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
