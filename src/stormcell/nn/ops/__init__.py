"""The recurrences as functions of tensors, in one folder each, and what they share.

``reference.py`` of each folder states the equations; ``fused.py`` computes the same faster. :mod:`.backends`
chooses between them, and :mod:`.driver` connects every fused back end to autograd.
"""
