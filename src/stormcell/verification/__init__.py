"""Verification: what was forecast, held against what fell.

``tally`` counts, ``spatial`` looks through windows, ``measure`` fills a tally from fields, ``scores``
turns a tally into scores, ``evaluate`` runs forecasters over issue times, ``report`` shows the result.
"""
