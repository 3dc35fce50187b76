"""Finding a free TCP port, and finding out that one is taken."""

import socket
from contextlib import closing

LOOPBACK = "127.0.0.1"
_CONNECT_SECONDS = 1.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment; somebody may take it before you."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


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
