"""A trust card: how long simulations with a potential live, and how wrong its forces may be."""
