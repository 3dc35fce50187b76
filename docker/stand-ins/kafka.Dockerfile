# Kafka's jars from Maven Central, configured by the class that the official image uses for it.
FROM debian:trixie-slim
RUN apt-get update -q && \
    apt-get install -qy --no-install-recommends openjdk-21-jre-headless netcat-openbsd && \
    rm -rf /var/lib/apt/lists/* && \
    useradd -u 1000 appuser && \
    install -d -o 1000 /var/lib/kafka/data /mnt/shared/config /opt/kafka/config /opt/kafka/logs /etc/kafka/docker
COPY jars /opt/kafka/libs
COPY kafka-run.sh /etc/kafka/docker/run
RUN touch /etc/kafka/docker/server.properties /etc/kafka/docker/log4j2.yaml \
    /etc/kafka/docker/tools-log4j2.yaml
USER appuser
VOLUME ["/var/lib/kafka/data", "/mnt/shared/config"]
CMD ["/etc/kafka/docker/run"]
