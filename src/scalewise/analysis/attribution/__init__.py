"""What limits a trained potential: its range, its scales, its data or its size."""
