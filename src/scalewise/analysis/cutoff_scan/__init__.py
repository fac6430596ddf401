"""The cutoff scan: error and cost of each scale of one trained potential."""
