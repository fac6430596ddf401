"""The flexible potential: one network, a cutoff per atom, long range from its own charges."""
