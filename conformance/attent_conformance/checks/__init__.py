"""The checks, by the letter of their rules in docs/spec.md. Each takes a `Subject` and raises, or returns margins."""
