"""One page with the answer of a project, made of all its documents."""
