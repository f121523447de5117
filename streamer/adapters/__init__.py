"""The only rooms that touch the world: Kafka, HTTP, Prometheus, bytes."""
