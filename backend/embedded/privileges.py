"""The user that PostgreSQL runs as: itself refuses to run as root.

Started by root, the server runs as ``postgres`` or, where that user does not exist, ``nobody``.
It keeps one capability, to pass folders such as a root-only home on its way to the data; so no
permission outside the data folder has to change.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import EmbeddedError

_CAP_DAC_OVERRIDE = 1  # capability(7): the bit's number
_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class ServerUser:
    """Who the server runs as, and what stands in front of its command line for that."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Give a file or folder to the server's user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_user() -> ServerUser:
    """Ourselves; someone with fewer rights when we are root."""
    if os.geteuid() != 0:
        return ServerUser()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and the program that would change the user, "
            "setpriv, is missing. Install util-linux, or start this as an ordinary user."
        )
    account = _account()
    prefix = (
        setpriv,
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        *_capabilities(),
    )
    return ServerUser(prefix, account.pw_uid, account.pw_gid)


def _account() -> pwd.struct_passwd:
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and this system has no user {' or '.join(_USERS)}."
    )


def _capabilities() -> tuple[str, ...]:
    """Nothing where root itself was not given the capability (a hardened container)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff" and not int(value, 16) >> _CAP_DAC_OVERRIDE & 1:
            return ()
    return ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
