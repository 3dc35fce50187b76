#!/bin/sh
# `vault server -config=…`: what that file of ours says.
set -eu
exec /usr/local/bin/vault-core -addr 0.0.0.0:8200 -storage file:/vault/file
