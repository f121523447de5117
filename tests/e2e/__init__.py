"""The whole way, on a real broker, with workers in processes of their own."""

import pytest

# What their asserts compared is told as it is in tests.
pytest.register_assert_rewrite("tests.e2e.oracle", "tests.e2e.scene")
