#!/bin/sh
# What a container is: entrypoint.sh ROLE, or any other command. It waits for what the role needs,
# for WAIT_SECONDS at most, and then becomes the process, so that signals reach it.
set -eu

scripts=/srv/tenantry/scripts
role=${1:-api}
[ $# -eq 0 ] || shift

# With USE_VAULT, the environment has the secrets that lie in Vault.
with_secrets() {
	[ "${USE_VAULT:-false}" != true ] || set -- /srv/tenantry/docker/flask-wrapper.sh "$@"
	"$@"
}

await() { with_secrets python "$scripts/wait_for.py" --timeout "${WAIT_SECONDS:-60}" "$@"; }

# RELOAD=true starts the process anew when the code changes: development only.
become() {
	[ "${USE_VAULT:-false}" != true ] || set -- /srv/tenantry/docker/flask-wrapper.sh "$@"
	[ "${RELOAD:-false}" != true ] || exec watchfiles --filter python "$*" /srv/tenantry/backend
	exec "$@"
}

worker() {
	await schema redis
	become celery -A celery_worker:celery worker --loglevel INFO --without-gossip --without-mingle \
		--concurrency "${WORKER_CONCURRENCY:-2}" -n "$1@%h" -Q "$2"
}

case $role in
api)
	await schema redis
	# How many processes and threads: gunicorn.conf.py, by API_WORKERS and API_THREADS.
	become gunicorn --bind 0.0.0.0:4999 --worker-tmp-dir /dev/shm --no-control-socket wsgi:app
	;;
worker)
	await schema redis
	become python consumer.py
	;;
relay)
	await schema redis kafka
	become python relay.py
	;;
celery-worker) worker general "${WORKER_QUEUES:-default,documents,fleet,mail,webhooks}" ;;
celery-worker-sso) worker sso sso ;;
celery-beat)
	await schema redis
	become python scheduler.py
	;;
flower)
	# Its secrets are no arguments, and without a password it does not start.
	# shellcheck disable=SC2016  # the inner shell has the secrets
	set -- sh -c 'python "$0" redis --timeout "$1" && CELERY_BROKER_URL=${REDIS_URL:?} \
		FLOWER_BASIC_AUTH=${FLOWER_BASIC_AUTH:?} exec celery flower --address=0.0.0.0 --port=5555' \
		"$scripts/wait_for.py" "${WAIT_SECONDS:-60}"
	[ "${USE_VAULT:-false}" != true ] ||
		set -- /srv/tenantry/docker/flask-wrapper.sh --only redis,flower "$@"
	exec "$@"
	;;
bootstrap)
	# The roles get the passwords that the URLs in the environment hold.
	await administrator
	umask 077
	env | grep -E '^(DATABASE_URL|DATABASE_OWNER_URL|DATABASE_PLATFORM_URL|PROVISIONER_URL)=' \
		>/tmp/roles.env
	exec python "$scripts/bootstrap_server.py" --installation "$INSTALLATION_ID" \
		--env-file /tmp/roles.env --foreign-databases revoke
	;;
migrate)
	await database redis
	[ "${DEMO_TENANTS:-false}" != true ] || set -- --create-test-tenant "$@"
	exec python "$scripts/init_db.py" "$@"
	;;
vault-init)
	umask 077
	env >/tmp/secrets.env
	python "$scripts/vault_init.py" --from-env /tmp/secrets.env --replace \
		--initialise /vault/keys/keys.json --credentials /vault/keys
	for each in api jobs operator flower; do
		cp "/vault/keys/$each.secret-id" "/vault/$each/secret-id"
	done
	;;
vault-unseal) exec "$scripts/vault_unseal.sh" --watch /vault/keys/keys.json ;;
storage)
	await store
	exec python "$scripts/init_storage.py"
	;;
topics)
	await kafka
	exec python "$scripts/init_kafka.py"
	;;
certificate) exec python "$scripts/generate_certificate.py" "$@" ;;
*) exec "$role" "$@" ;;
esac
