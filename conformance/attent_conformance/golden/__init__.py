"""Golden data: ids that every core must select, digests of what every run must teach."""
