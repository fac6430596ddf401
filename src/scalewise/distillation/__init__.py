"""A cheap inner potential for two time steps, made of a whole one."""
