"""Interfaces of the potential to simulation engines."""
