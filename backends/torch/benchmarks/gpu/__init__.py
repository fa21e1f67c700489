"""What only a GPU shows: checks, and timings beside training written by hand."""
