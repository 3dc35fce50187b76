# Debian's nginx with the official image's user.
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -qy --no-install-recommends nginx-light curl && \
    rm -rf /var/lib/apt/lists/* && useradd -r -u 101 nginx
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
