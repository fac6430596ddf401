"""The potential in LAMMPS: through ``fix external`` on one process, or as a pair style on any."""
