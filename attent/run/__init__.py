"""A run under way and on disk: course, loop, records, trace and files."""
