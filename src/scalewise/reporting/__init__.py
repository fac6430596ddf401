"""How results are shown: figures, tables and pages."""
