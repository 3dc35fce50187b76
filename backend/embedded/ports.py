"""Finding a free TCP port, and finding out that one is taken."""

import secrets
import socket
from contextlib import closing
from typing import Final

LOOPBACK = "127.0.0.1"
# Linux gives 32768 and above to outgoing connections, macOS 49152 and above (RFC 6335).
_NEVER_OUTGOING: Final = range(20_000, 32_768)
_CONNECT_SECONDS = 1.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment; somebody may take it before you.

    By chance, and from below the ports that systems give to outgoing connections, one of which
    would soon have taken it.
    """
    return next(port for port in iter(_any_port, None) if not is_taken(port))


def _any_port() -> int:
    # Not from a generator that somebody seeds: two processes would be given the same port.
    return secrets.choice(_NEVER_OUTGOING)


def is_taken(port: int) -> bool:
    """Whether somebody listens on the port.

    Asks twice: a connection also finds listeners that BSD systems let us bind beside (another
    address of ``localhost``), and binding also finds those that do not answer.
    """
    try:
        with socket.create_connection(("localhost", port), _CONNECT_SECONDS):
            return True
    except OSError:
        pass
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False
