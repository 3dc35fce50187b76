#!/bin/sh
# A new data folder with POSTGRES_PASSWORD for its superuser, who logs in by SCRAM; then the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
	# shellcheck disable=SC2086  # several options in one variable
	initdb --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password ${POSTGRES_INITDB_ARGS:-}
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
unset POSTGRES_PASSWORD
exec "$@"
