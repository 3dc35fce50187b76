#!/usr/bin/env bash
# Unseals Vault with the keys that vault_init.py --initialise keeps in a file. For development: in
# production nobody has all keys, and no file does.
#
#     scripts/vault_unseal.sh .data/vault.json        # of the Vault at VAULT_ADDR
#
# Options: --help; --json reports as one JSON document; --watch stays, unseals it whenever it is
# sealed, and touches HEARTBEAT_FILE as long as it can.
# Exit codes: 0 it is unsealed, also where it was before; 1 it is not; 2 wrong arguments.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
[ -x "$python" ] || python=python3

usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0"; }

file= json= watch=
for argument in "$@"; do
	case $argument in
	-h | --help)
		usage
		exit 0
		;;
	--json) json=yes ;;
	--watch) watch=yes ;;
	-*)
		usage >&2
		exit 2
		;;
	*)
		[ -z "$file" ] || { usage >&2; exit 2; }
		file=$argument
		;;
	esac
done
[ -n "$file" ] || { usage >&2; exit 2; }
[ -r "$file" ] || { echo "$file cannot be read." >&2; exit 1; }

# The keys travel by the file and the connection, never as arguments.
KEYS=$file JSON=$json WATCH=$watch PYTHONPATH="$here/../backend" exec "$python" - <<'END'
import json
import os
import sys
import time
from pathlib import Path

from app.settings.vault import VaultAccess
from app.settings.vault_client import VaultFault, connect, told

access = VaultAccess(use_vault=False)
if not access.vault_addr:
    sys.exit("VAULT_ADDR names no Vault.")
vault = connect(access)
heartbeat = os.environ.get("HEARTBEAT_FILE")


def unseal() -> tuple[bool, bool]:
    """Whether it was sealed, and whether it is."""
    with told(access.vault_addr):
        was_sealed = vault.sys.is_sealed()
        if was_sealed:
            vault.sys.submit_unseal_keys(json.loads(Path(os.environ["KEYS"]).read_text())["keys_base64"])
        return was_sealed, vault.sys.is_sealed()


said = ""
while os.environ["WATCH"]:
    try:
        was_sealed, sealed = unseal()
        words = "Still sealed." if sealed else "Unsealed." if was_sealed else ""
        if heartbeat and not sealed:
            Path(heartbeat).touch()
    except VaultFault as fault:
        words = str(fault)
    if words and words != said:
        print(words, flush=True)
    said = words
    time.sleep(2)
try:
    was_sealed, sealed = unseal()
except VaultFault as fault:
    sys.exit(str(fault))
if os.environ["JSON"]:
    print(json.dumps({"sealed": sealed, "was_sealed": was_sealed}))
else:
    print("Still sealed." if sealed else "Unsealed." if was_sealed else "It was not sealed.")
sys.exit(1 if sealed else 0)
END
