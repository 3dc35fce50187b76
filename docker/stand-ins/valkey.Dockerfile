# Debian's Valkey.
FROM debian:trixie-slim
RUN apt-get update -q && \
    apt-get install -qy --no-install-recommends valkey-server valkey-tools && \
    rm -rf /var/lib/apt/lists/* && \
    usermod -u 999 valkey && install -d -o 999 /data
WORKDIR /data
VOLUME /data
CMD ["valkey-server"]
