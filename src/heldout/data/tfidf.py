"""Which texts share rare words with a query: a filter before what costs a gradient per text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heldout.core.errors import InputError


def tfidf_top(queries: Sequence[str], texts: Sequence[str], k: int) -> np.ndarray:
    """Return the k texts nearest to each query by TF-IDF, nearest first, (q, k).

    Cosine of tf * (ln((1 + n) / (1 + df)) + 1) over lower-cased words and numbers, fitted on the
    texts. Ties go to the earlier text. The filter can only find texts with words of the query:
    texts that influence it without sharing words are lost (Grosse et al. 2023, arXiv:2308.03296,
    section 3.2.1, who keep 10,000 sequences; they compare with query batching, which scores all).

    Args:
        queries: q texts (prompt and completion together).
        texts: n texts.
        k: how many of them to keep; all when there are fewer.

    Raises:
        InputError: no queries or texts, k below 1, or texts without words.

    Cost: O(total words), and q x n similarities in float64.

    >>> tfidf_top(["a red fox"], ["blue sea", "the fox is red", "red paint"], 2).tolist()
    [[1, 2]]
    """
    if not len(queries) or not len(texts) or k < 1:
        raise InputError(
            f"{len(queries)} queries, {len(texts)} texts, k={k}", "at least one of each", "k=1000"
        )
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(dtype=np.float64)
    try:
        known = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise InputError(f"texts without words ({error})", "texts with words", "pass texts") from (
            error
        )
    similar = (vectorizer.transform(queries) @ known.T).toarray()
    return np.argsort(-similar, axis=1, kind="stable")[:, :k]
