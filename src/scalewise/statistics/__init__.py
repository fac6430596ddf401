"""Statistics: intervals over groups, verdicts, several tests at once."""
