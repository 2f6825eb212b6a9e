"""What a word is: Unicode folding, word boundaries, English plurals and their inverse."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "lice": "louse",
    "men": "man", "mice": "mouse",
    "oxen": "ox", "people": "person", "teeth": "tooth", "women": "woman", "calves": "calf",
    "elves": "elf", "halves": "half", "hooves": "hoof", "knives": "knife", "leaves": "leaf",
    "lives": "life", "loaves": "loaf", "scarves": "scarf", "shelves": "shelf", "thieves": "thief",
    "wives": "wife", "wolves": "wolf", "cacti": "cactus", "fungi": "fungus", "buses": "bus",
    "gases": "gas", "lenses": "lens", "quizzes": "quiz", "atlases": "atlas", "irises": "iris",
    "canvases": "canvas", "shoes": "shoe", "horseshoes": "horseshoe", "snowshoes": "snowshoe",
    "toes": "toe", "canoes": "canoe", "hoes": "hoe", "caches": "cache", "headaches": "headache",
    "moustaches": "moustache", "axes": "axe", "pickaxes": "pickaxe", "fuses": "fuse",
    "muses": "muse", "excuses": "excuse",
}  # fmt: skip
_IE = {
    "birdie", "brownie", "budgie", "calorie", "collie", "cookie", "genie", "goalie", "hoodie",
    "magpie", "movie", "pixie", "prairie", "rookie", "selfie", "smoothie", "zombie",
}  # fmt: skip
# Words that end like a plural and are none, or have no singular.
_SAME = {
    "always", "atlas", "besides", "canvas", "christmas", "jeans", "lens", "news", "pants",
    "perhaps", "scissors", "series", "sometimes", "species", "texas", "vegas", "abdomen", "acumen",
    "omen", "regimen", "semen", "specimen", "stamen",
}  # fmt: skip
_ES = ("sses", "shes", "ches", "xes", "oes")


def fold(text: str) -> str:
    """Return text in the one form that is compared: equal for every Unicode form of the same words.

    Invisible format characters (but the zero width space, which is a blank) and variation selectors
    are taken out, then NFKC, case folding and NFKC again; every character that is neither letter,
    digit nor mark becomes a blank, a line feed stays. Han, kana, Thai, Lao, Khmer and Burmese are
    written without blanks: each of their letters, with the marks that follow it, is set between
    blanks, so it is a word of its own.

    >>> fold("Cafe\\u0301 – ＤＯＧs, \\ufb01sh") == fold("CAFÉ dogs ﬁsh".replace(" d", "   d")
    ...     .replace("s ﬁ", "s  ﬁ"))
    True
    """
    bare = text.translate(_INVISIBLE)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", bare).casefold())
    return _UNSPACED.sub(_apart, folded.translate(_BLANKS))


def follows(char: str) -> bool:
    """Return whether a mark stays with the letter before it in scripts without blanks.

    >>> [follows(c) for c in ("\\u0e34", "\\u0301", "ก", "a")]
    [True, True, False, False]
    """
    if unicodedata.combining(char):
        return True
    return unicodedata.category(char)[0] == "M" and _WITHIN.match(char) is not None


def _apart(found: re.Match[str]) -> str:
    # Other scripts' marks without a combining class are cut off: `folding` folds them apart, too.
    cluster = found[0]
    n = next((i for i in range(1, len(cluster)) if not follows(cluster[i])), len(cluster))
    return f" {cluster[:n]} {cluster[n:]}"


def words(text: str) -> list[str]:
    """Split folded text into words: runs of letters, digits and marks.

    In scripts without blanks, one letter and its marks: what is a word there needs a dictionary.

    >>> words("Black-footed_albatross's nest"), words("T恤和ทีม")
    (['black', 'footed', 'albatross', 's', 'nest'], ['t', '恤', '和', 'ที', 'ม'])
    """
    return fold(text).split()


def singular(word: str, lemmas: Mapping[str, str] | None = None) -> str:
    """Return the singular of a folded English noun; other words come back as they are.

    Suffix rules and a short list of exceptions, not a dictionary: 's, es, ies, men' are read as
    plurals wherever they may be. `lemmas` (word -> lemma, folded) comes first, for other languages
    or a full lemmatizer's output.

    >>> [singular(w) for w in ("berries", "boxes", "women", "glass", "movies", "bus", "houses")]
    ['berry', 'box', 'woman', 'glass', 'movie', 'bus', 'house']
    """
    if lemmas is not None and word in lemmas:
        return lemmas[word]
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SAME or len(word) < 4:
        return word
    if word.endswith("men") and len(word) > 4:
        return word[:-2] + "an"
    if not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4 and word[:-1] not in _IE:
        return word[:-3] + "y"
    latin = word.endswith("uses") and not word.endswith(("ouses", "auses"))
    return word[:-2] if word.endswith(_ES) or latin else word[:-1]


def forms(lemma: str, lemmas: Mapping[str, str] | None = None) -> set[str]:
    """Return every word whose `singular` is `lemma`: so captions need not be lemmatized.

    >>> sorted(forms("berry")), sorted(forms("fish"))
    (['berries', 'berry', 'berrys'], ['fish', 'fishes', 'fishs'])
    """
    ahead = {lemma, lemma + "s", lemma + "es"}
    ahead |= {plural for plural, one in _IRREGULAR.items() if one == lemma}
    ahead |= {lemma[:-1] + "ies"} if lemma.endswith("y") else set()
    ahead |= {lemma[:-2] + "en"} if lemma.endswith("an") else set()
    ahead |= {word for word, one in (lemmas or {}).items() if one == lemma}
    return {word for word in ahead if word and singular(word, lemmas) == lemma}


class _Invisible(dict[int, int | None]):
    # Filled as characters are met: a table of all of Unicode would take longer than most files.

    def __missing__(self, code: int) -> int | None:
        formats = unicodedata.category(chr(code)) == "Cf" and code != _ZERO_WIDTH_SPACE
        gone = formats or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
        self[code] = found = None if gone else code
        return found


class _Blanks(dict[int, int]):
    def __missing__(self, code: int) -> int:
        char = chr(code)
        kept = char == "\n" or char.isalnum() or unicodedata.category(char)[0] == "M"
        self[code] = found = code if kept else 32
        return found


_INVISIBLE, _BLANKS = _Invisible(), _Blanks()
_ZERO_WIDTH_SPACE = 0x200B  # a format character, but what it says is that a word ends
_WITHIN = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17df\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai to Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff]"
)
# A letter of these scripts (their digits make numbers) and the marks behind it: once folded, what
# is neither word character nor blank is a mark.
_UNSPACED = re.compile(rf"(?=[^\W\d_]){_WITHIN.pattern}[^\w\s]*")
