"""Networks as programs that other languages run: of tensors alone, compiled ahead of time."""
