"""The potential inside the engines people use."""
