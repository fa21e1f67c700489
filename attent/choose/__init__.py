"""Which examples are taught next: pure functions and policies of scores. It knows no plan."""
