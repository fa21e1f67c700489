"""The referee: whether teaching pays on a task, by arms over paired seeds and the cost-quality curve of full data."""
