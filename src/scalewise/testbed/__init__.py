"""The testbed: salt water by molecular dynamics, with reference laws of known range."""
