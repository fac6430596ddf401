"""What all parts of the package use: errors, files, settings, the terminal."""
