"""The plan: the whole timeline of a run as data, and what it costs."""
