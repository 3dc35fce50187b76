# The S3 gateway, built from its Go module.
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -qy --no-install-recommends busybox && \
    rm -rf /var/lib/apt/lists/* && ln -s busybox /bin/wget
COPY versitygw /usr/local/bin/versitygw
ENTRYPOINT ["/usr/local/bin/versitygw"]
