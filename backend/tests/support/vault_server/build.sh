#!/bin/bash
# usage: build.sh OUT ; needs go >= 1.25.3, the Go module proxy (or a warm module cache)
set -e; cd "$(dirname "$0")"; export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
if [ ! -d sdk ]; then
  D=$(cd / && go mod download -json github.com/hashicorp/vault/sdk@v0.21.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  cp -r "$D" sdk.tmp; chmod -R u+w sdk.tmp
  sed -i 's/ActivationFunc func(context.Context, \*logical.Request, string) error/ActivationFunc func(context.Context, *logical.Request) error/' sdk.tmp/framework/backend.go
  sed -i '/^func (lm \*LockManager) RestorePolicy/,/^}/{s/force bool) error {/force bool) (string, error) {/;s/return nil$/return keyData.Policy.Name, nil/;s/return \(err\|fmt\.\)/return "", \1/}' sdk.tmp/helper/keysutil/lock_manager.go
  mv sdk.tmp sdk
fi
GOGC=${BUILD_GOGC:-off} CGO_ENABLED=0 go build -ldflags="-s -w" -gcflags="${GCF-all=-N -l}" -o "$1" .
