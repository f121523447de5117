"""The pure core: no Kafka, no Prometheus, no JSON, no clock.

Everything that decides lives here and takes time as an argument, so the same
code runs behind a live worker, over files, and in tests without a broker.
"""
