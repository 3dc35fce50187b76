#!/bin/sh
# Fills in what the configuration cannot read from its environment; then nginx.
set -eu
sed -e "s|@BUCKET@|$S3_BUCKET|g" -e "s|@MAX_UPLOAD_MB@|$MAX_UPLOAD_MB|g" \
	-e "s|@RESOLVER@|$(awk '/^nameserver/ { print $2; exit }' /etc/resolv.conf)|g" \
	/etc/tenantry/nginx.conf >/tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -g 'daemon off;'
