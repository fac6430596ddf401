"""The trust card: how long simulations with a potential are stable, and bounds of its errors."""
