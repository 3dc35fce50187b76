"""Run the stand-in with the people of the demonstration: ``python -m embedded.entra``.

Exit codes: 0 stopped; 2 wrong arguments.
"""

import argparse
import signal
import sys
import threading
import uuid
from pathlib import Path

from embedded.entra import demo
from embedded.entra.directory import DirectoryPerson, RegisteredApplication
from embedded.entra.server import StandIn, stand_in


def main() -> None:
    """Answer until told to stop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where certificates are made")
    parser.add_argument("--port", type=int, required=True, help="of Entra ID and Graph, https")
    parser.add_argument("--front", type=int, required=True, help="of the pages for people, http")
    parser.add_argument("--callback", required=True, help="the redirect URI that is registered")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with stand_in(arguments.folder, port=arguments.port, front_port=arguments.front) as made:
        furnish(made, arguments.callback)
        sys.stdout.write("ready.\n")
        sys.stdout.flush()
        stopped.wait()


def furnish(made: StandIn, callback: str) -> None:
    """The same directory, application and people in every run."""
    directory = made.add_directory(str(demo.DIRECTORY_ID))
    application = RegisteredApplication({callback}, id=str(demo.CLIENT_ID))
    directory.applications[application.id] = application
    for email, name in (demo.PEOPLE | demo.GUESTS).items():
        person = DirectoryPerson(email, name, id=str(demo.person_id(email)))
        person.groups = {str(uuid.uuid5(demo.DIRECTORY_ID, f"group of {name}"))}
        directory.people[person.id] = person


if __name__ == "__main__":
    main()
