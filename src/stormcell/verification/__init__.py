"""Verification: scores of forecasts against observations.

``plan`` chooses issue times, ``evaluate`` runs forecasters, ``statistics`` and ``scores`` are registries,
``tally`` adds statistics, ``saved_evaluation`` resumes and merges, ``report`` writes the results.
"""
