"""Exits with 0 where this address of this machine answers 200: `answers.py 4999/health/ready`."""

import sys
from http.client import HTTPConnection

port, _, path = sys.argv[1].partition("/")
connection = HTTPConnection("127.0.0.1", int(port), timeout=4)
connection.request("GET", f"/{path}", headers={"Host": "localhost"})
sys.exit(connection.getresponse().status != 200)
