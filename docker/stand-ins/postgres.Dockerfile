# Debian's PostgreSQL behind the part of the official image's contract that our file uses.
FROM debian:trixie-slim
RUN apt-get update -q && \
    apt-get install -qy --no-install-recommends postgresql-17 && \
    rm -rf /var/lib/apt/lists/* /var/lib/postgresql/17 && \
    usermod -u 999 postgres && groupmod -g 999 postgres && \
    install -d -o 999 -g 999 /var/lib/postgresql/data /var/run/postgresql && \
    sed -i "s|^#listen_addresses.*|listen_addresses = '*'|" /usr/share/postgresql/17/postgresql.conf.sample
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
