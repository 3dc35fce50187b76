"""Make the topics of this installation, with TOPIC_PARTITIONS and TOPIC_REPLICAS.

Harmless to repeat. A topic with another number of partitions is reported and left alone: stop the
relays and let the consumers read all that is there, then run it with --add-partitions.

Exit codes: 0 right; 1 a topic is missing (--check) or has too few partitions, or Kafka is away; 2
wrong arguments.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.catalogue import TOPICS
from app.integrations.kafka import KafkaAway, ensure_topics
from app.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--add-partitions", action="store_true", help="where there are too few")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    settings = load_settings()
    if not settings.kafka_bootstrap_servers:
        sys.exit("KAFKA_BOOTSTRAP_SERVERS is not set.")
    try:
        found = ensure_topics(
            settings, TOPICS, add_partitions=arguments.add_partitions, check=arguments.check
        )
    except KafkaAway as error:
        sys.exit(error.detail)
    if arguments.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        for each in found:
            print(f"{each.name}: {each.partitions} partitions, {each.outcome}")
    sys.exit(any(each.outcome in {"missing", "fewer than wanted"} for each in found))


if __name__ == "__main__":
    main()
