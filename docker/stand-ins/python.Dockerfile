# Debian's Python under the official image's names of its programs.
FROM debian:trixie-slim
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN apt-get update -q && \
    apt-get install -qy --no-install-recommends python3 python3-pip python3-venv && \
    rm -rf /var/lib/apt/lists/* /usr/lib/python3.*/EXTERNALLY-MANAGED && \
    ln -s python3 /usr/bin/python
CMD ["python3"]
