"""Networks as programs: functions of tensors, compiled ahead of time, for Python and C++."""
