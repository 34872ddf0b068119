"""Verification: scores of forecasts against observations.

``plan`` chooses issue times, ``evaluate`` runs forecasters, ``statistics`` and ``scores`` are registries,
``tally`` adds statistics, ``resumable`` resumes, ``saved_evaluation`` merges, ``report`` writes the results.
"""
