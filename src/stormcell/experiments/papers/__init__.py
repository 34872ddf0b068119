"""The seven experiments, a module for each: their data, contenders, baselines and protocols."""
