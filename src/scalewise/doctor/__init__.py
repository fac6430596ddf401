"""Examination of labelled frames before training on them."""
