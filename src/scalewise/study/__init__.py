"""The study: data in, evidence out."""
