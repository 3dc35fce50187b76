#!/bin/sh
# The variables KAFKA_… become server.properties, the storage is formatted once; then the broker.
set -eu
said=$(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' \
	kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
	--mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
	case $said in *'already formatted'*) ;; *)
		printf '%s\n' "$said" >&2
		exit 1
		;;
	esac
# shellcheck disable=SC2086  # several options in one variable
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -cp '/opt/kafka/libs/*' kafka.Kafka \
	/opt/kafka/config/server.properties
