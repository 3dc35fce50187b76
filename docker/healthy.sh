#!/bin/sh
# Whether a process that answers no requests has given a sign of life in the last minute.
set -eu
find "${HEARTBEAT_FILE:?}" -mmin -1 2>/dev/null | grep -q .
