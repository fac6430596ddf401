"""A potential in a folder for one engine: the model, its programs, and an example that runs."""
