"""How events leave the house, and how often what is done about them is tried."""

import ssl
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.settings.rules import Group, split


class Events(Group):
    enable_kafka_events: bool = False
    """Whether events go through Kafka; without it `consumer.py` takes them from the outbox."""
    kafka_bootstrap_servers: Annotated[tuple[str, ...], NoDecode] = ()
    """Brokers to begin with: `kafka-1:9092,kafka-2:9092`. Required with Kafka."""
    kafka_tls: bool = False
    """TLS to the brokers, checked against the system's roots, or `KAFKA_CA_FILE`."""
    kafka_ca_file: Path | None = None
    """Certificates in PEM to trust in place of the system's."""
    kafka_username: str = ""
    """Who signs in to the brokers; nobody in particular without it."""
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """How; `PLAIN` tells the brokers the password, so it needs `KAFKA_TLS`."""
    kafka_password: SecretStr = SecretStr("")
    """The password of that user."""
    kafka_timeout: Annotated[float, Field(ge=1, le=120)] = 10.0
    """Seconds until brokers that do not answer count as away."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "tenantry"
    """What the topics are named after: `{prefix}.events`, `{prefix}.files`."""
    topic_partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Partitions of each topic; as many processes can share its work. More can be added later."""
    topic_replicas: Annotated[int, Field(ge=1, le=10)] = 1
    """Brokers that hold each event; 3 where there are as many."""
    consumer_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "tenantry"
    """Processes of one group share the work."""

    outbox_poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.1
    """How often a relay looks for tenants that told something."""
    outbox_sweep_seconds: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """A relay looks into one tenant after another, at this pace, for what Redis forgot."""
    outbox_threads: Annotated[int, Field(ge=1, le=100)] = 4
    """Tenants that a relay works for at the same time."""
    outbox_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Events that are sent in one transaction."""
    outbox_retention_days: Annotated[int, Field(ge=1)] = 7
    """How long events that were sent are kept, and which have been handled: longer than Kafka's."""
    activity_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """How long a tenant's feed of events goes back; up to a month longer."""
    event_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts at an event before it becomes a dead letter."""
    event_back_off_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """The pause after the first failed attempt; doubles with each further one, up to an hour."""

    @field_validator("kafka_bootstrap_servers", mode="before")
    @classmethod
    def _split_brokers(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _have_ports(cls, brokers: tuple[str, ...]) -> tuple[str, ...]:
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"{broker!r} is no host:port")
        return brokers

    @model_validator(mode="after")
    def _kafka_is_somewhere(self) -> Self:
        if self.enable_kafka_events and not self.kafka_bootstrap_servers:
            raise ValueError("KAFKA_BOOTSTRAP_SERVERS is needed with ENABLE_KAFKA_EVENTS")
        return self

    @model_validator(mode="after")
    def _password_is_not_overheard(self) -> Self:
        if self.kafka_username and self.kafka_sasl_mechanism == "PLAIN" and not self.kafka_tls:
            raise ValueError("KAFKA_SASL_MECHANISM=PLAIN needs KAFKA_TLS")
        return self

    @field_validator("kafka_ca_file")
    @classmethod
    def _holds_certificates(cls, file: Path | None) -> Path | None:
        if file is not None:
            try:
                ssl.create_default_context(cafile=str(file))
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(f"{file} holds no certificates in PEM: {error}") from None
        return file
