"""What the embedded servers tell the person at the terminal."""


class EmbeddedError(Exception):
    """A reason to stop, written to be read by a person: what happened and what to do next."""


class PortTaken(EmbeddedError):
    """Another process listens where ours wanted to."""


class FolderBusy(EmbeddedError):
    """Another process works on the same data folder."""


class StoppedEarly(EmbeddedError):
    """A server ended before it was ready; the message carries its last log lines."""
