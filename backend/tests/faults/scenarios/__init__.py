"""What is done to the product, in the order in which it is done."""

from tests.faults.scenarios import (  # isort: skip
    databases as databases,
    events as events,
    redis as redis,
    kafka as kafka,
    store as store,
    vault as vault,
    deploys as deploys,
    people as people,
    controls as controls,
)
