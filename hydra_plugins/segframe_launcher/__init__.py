"""segframe's Hydra launcher: each job of a sweep in a fresh process."""
