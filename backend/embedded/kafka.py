"""Apache Kafka as a child process: one node, broker and controller in one (KRaft). Tests only."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from embedded import maven
from embedded.errors import EmbeddedError
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 60.0
_FORMAT_SECONDS = 60.0
_HEAP = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_CLUSTER_ID = "TenantryTestsKRaft0001"  # 22 characters of base64


@dataclass(frozen=True)
class Guard:
    """Clients come by TLS, and sign in as this user, by SCRAM or by telling the password."""

    certificate: Path
    key: Path
    username: str
    password: str

    def settings(self) -> dict[str, str]:
        """Those of the listener `CLIENTS`."""
        login = "org.apache.kafka.common.security"
        listener = "listener.name.clients"
        scram = f"{login}.scram.ScramLoginModule required;"
        plain = f'{login}.plain.PlainLoginModule required user_{self.username}="{self.password}";'
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
            f"{listener}.scram-sha-512.sasl.jaas.config": scram,
            f"{listener}.scram-sha-256.sasl.jaas.config": scram,
            f"{listener}.plain.sasl.jaas.config": plain,
            f"{listener}.ssl.keystore.type": "PEM",
            f"{listener}.ssl.keystore.certificate.chain": _one_line(self.certificate),
            f"{listener}.ssl.keystore.key": _one_line(self.key),
        }


class KafkaServer(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on 127.0.0.1 and lets everybody in, unless there is a guard. ``port`` chooses where,
    so that a server can be stopped and started again at the same place. ``advertised`` is the
    address that it tells its clients, where something stands between.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        libraries: Path,
        port: int | None = None,
        guard: Guard | None = None,
        advertised: str | None = None,
    ) -> None:
        super().__init__(data_dir, durable=True, log=None)
        self.libraries = libraries
        self.port = port or free_port()
        self._advertised = advertised or self.url
        self._controller_port = free_port()
        self._own_port = free_port()
        self._guard = guard

    @property
    def url(self) -> str:
        """127.0.0.1:port."""
        return f"{LOOPBACK}:{self.port}"

    def _start(self) -> None:
        settings = self.data_dir / "server.properties"
        settings.write_text(self._settings(), encoding="utf-8")
        if not (self.data_dir / "log" / "meta.properties").exists():
            self._format(settings)
        self._child = ChildProcess(
            Command(
                name="Kafka",
                program=self._java("kafka.Kafka", str(settings)),
                log=self.log,
                folder=self.data_dir,
                grace=10.0,
            )
        )
        self._child.wait_until(self._answers, seconds=_READY_SECONDS)

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        java = maven.java_program()
        if java is None:
            raise EmbeddedError("Java is needed to run Kafka.")
        return [java, *_HEAP, "-cp", f"{self.libraries}/*", main_class, *arguments]

    def _format(self, settings: Path) -> None:
        program = self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID)
        done = subprocess.run(
            [*program, "-c", str(settings), *self._users()],
            capture_output=True,
            text=True,
            check=False,
            timeout=_FORMAT_SECONDS,
            cwd=self.data_dir,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        if done.returncode:
            raise EmbeddedError(f"Kafka's storage was not formatted:\n{done.stdout}{done.stderr}")

    def _users(self) -> list[str]:
        if self._guard is None:
            return []
        user = f"[name={self._guard.username},password={self._guard.password}]"
        mechanisms = ("SCRAM-SHA-512", "SCRAM-SHA-256")
        return [part for each in mechanisms for part in ("--add-scram", f"{each}={user}")]

    def _settings(self) -> str:
        controller = f"{LOOPBACK}:{self._controller_port}"
        own = f"{LOOPBACK}:{self._own_port}"
        clients = "PLAINTEXT" if self._guard is None else "SASL_SSL"
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"CLIENTS://{self.url},BROKERS://{own},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENTS://{self._advertised},BROKERS://{own}",
            "listener.security.protocol.map": (
                f"CLIENTS:{clients},BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "BROKERS",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir / "log"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.enable": "false",
        }
        if self._guard is not None:
            lines |= self._guard.settings()
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _answers(self) -> bool:
        return answers(self.url)


def _one_line(file: Path) -> str:
    """As a value of a properties file."""
    return file.read_text(encoding="ascii").replace("\n", "\\n")


def answers(url: str) -> bool:
    """Whether a server takes connections there."""
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False
