"""The TrajGRU: reference (the equations), fused (the same, faster), and the parts of the fused back end."""
