"""Lower bounds of the error of any model of a given range, from the reference method alone."""
