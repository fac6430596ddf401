"""The ladder of scales of one trained potential: what each rung costs and what it is worth."""
