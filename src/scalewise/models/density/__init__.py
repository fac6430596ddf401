"""The density network: one set of weights, a cutoff for each atom, long range from its charges."""
