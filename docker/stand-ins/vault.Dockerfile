# Vault's own core, started as the official image starts it, but for its configuration file.
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -qy --no-install-recommends busybox && \
    rm -rf /var/lib/apt/lists/* && ln -s busybox /bin/wget && \
    groupadd -g 1000 vault && useradd -u 100 -g 1000 vault && \
    install -d -o 100 -g 1000 /vault/file
COPY vault /usr/local/bin/vault-core
COPY vault-run.sh /bin/vault
USER vault
