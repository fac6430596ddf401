"""Know the data first: what somebody should know about labelled frames before training on them."""
