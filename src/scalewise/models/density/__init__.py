"""The density network, with a cutoff for each atom and electrostatics of learned charges."""
