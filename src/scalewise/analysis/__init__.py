"""What a trained model is worth: errors, scales, what would help, what is local."""
