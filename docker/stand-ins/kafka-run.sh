#!/bin/sh
# The variables KAFKA_… become server.properties; the storage is formatted once; then the broker.
set -eu
run() { java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' "$@"; }
run kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
	--mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config
run kafka.tools.StorageTool format --ignore-formatted --cluster-id="$CLUSTER_ID" \
	-c /opt/kafka/config/server.properties
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -cp '/opt/kafka/libs/*' kafka.Kafka \
	/opt/kafka/config/server.properties
