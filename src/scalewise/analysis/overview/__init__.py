"""The answer as one page: all documents of a project, joined."""
