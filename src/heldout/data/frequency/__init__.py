"""How often concepts occur in training data, and what that says about scores on them.

    from heldout.data.frequency.law import frequency_law
    from heldout.data.frequency.count import count_concepts
    from heldout.data.frequency.engines import count_shards

Udandarao et al. 2024, arXiv:2404.04125.
"""
