"""Run the benchmarks and compare the figures with their goals (`make bench`).

Ratios count, not times: each figure stands beside a peer measured in the same run, in turns.
The exit code is 1 when a goal is missed.
"""

import argparse
import json
import os
import sys
from typing import Final

import place
import connections
import provisioning
from embedded.errors import EmbeddedError
from embedded.signals import StopRequested, stop_on_signals
from figures import Figure, table
from stage import staged
