#!/bin/sh
# Gives a command the secrets that lie in Vault, and becomes it:
#
#     docker/flask-wrapper.sh gunicorn --bind 0.0.0.0:4999 wsgi:app
#     docker/flask-wrapper.sh --only redis,flower celery flower
#
# With USE_VAULT=true they are read from VAULT_ADDR as VAULT_ROLE_ID and handed over in the command's
# environment, where no other user sees them; the command gets this process's number and all of its
# signals. Without, the command gets the environment as it is. With --only it gets these entries of
# docs/vault.md alone, for which its role needs no right to any other.
#
# Variables: BACKEND, the folder of the application (else the one beside this script's), and PYTHON
# (else that of the virtual environment beside it, else python3).
#
# Exit codes: the command's; 1 Vault did not give the secrets; 2 wrong arguments; 126, 127 it
# cannot be started.
set -eu

case "${1:-}" in
-h | --help)
	sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
	exit 0
	;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
backend=${BACKEND:-$here/../backend}
python=${PYTHON:-$here/../.venv/bin/python}
[ -x "$python" ] || python=python3

PYTHONPATH="$backend${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m app.settings.hand_over "$@"
