"""segframe's Hydra sweeper that asks Optuna for the values."""
