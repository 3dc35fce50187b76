#!/usr/bin/env bash
# Throw away all data of a development installation, and begin anew with the demonstration's.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<-'END'
	Usage: scripts/reset_db.sh --yes [--env-file FILE]

	Empties the main database and drops every tenant's database, then does what init_db.py does
	with --create-admin and --create-test-tenant. Settings come from FILE (default: what make run
	leaves in .data/tenantry.env), where there is one, and from the environment. Refuses unless
	ENVIRONMENT is development. Stop the API and the workers first.

	Exit codes: 0 done; 1 it refuses, or something fails; 2 wrong arguments.
	END
}

python=${PYTHON:-$PWD/.venv/bin/python}
file=.data/tenantry.env
sure=
while [ $# -gt 0 ]; do
	case $1 in
	--yes) sure=1 ;;
	--env-file) file=${2:?--env-file needs a file}; shift ;;
	-h | --help) usage; exit ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

# What the environment says wins over the file; values are taken as they are, not as shell.
if [ -f "$file" ]; then
	while IFS= read -r line; do
		case $line in '' | '#'*) continue ;; esac
		name=${line%%=*}
		[ -n "${!name+set}" ] || export "$line"
	done <"$file"
fi

settings=$("$python" scripts/show_settings.py --json) # fails where they would not do
environment=$("$python" -c '
import json, sys
print(next(row["value"] for row in json.load(sys.stdin) if row["name"] == "ENVIRONMENT"))' <<<"$settings")
if [ "$environment" != development ]; then
	echo "ENVIRONMENT is $environment: nothing was changed." >&2
	exit 1
fi
if [ -z "$sure" ]; then
	echo "This destroys all data of this installation. Say --yes. Nothing was changed." >&2
	exit 1
fi

echo "Emptying the main database"
(cd backend && "$python" -m flask --app wsgi db downgrade base)
"$python" scripts/init_db.py
echo "Dropping the tenants' databases"
"$python" scripts/reconcile_tenants.py --apply
"$python" scripts/init_db.py --create-admin --create-test-tenant
