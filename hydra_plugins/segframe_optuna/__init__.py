"""segframe's Hydra sweeper that asks Optuna for the values.

Modules that import Optuna have an underscore: all others of an installed plugin are loaded by Hydra at every
start, with a warning for each that cannot be, and Optuna is an extra.
"""
