"""Words of the field that mean the same, or nearly, and what its acronyms stand for."""

from __future__ import annotations

from functools import cache

from heldout.serve.search.analysis import words

_TABLE = """
out of distribution = ood = distribution shift = domain shift
distribution shift = covariate shift = domain generalization = unseen domain = ood
overfit = overtrain = memorize
memorize = learn by heart = rote learning = store labels
grok = delayed generalization = late generalization = generalize long after fitting
label noise = noisy label = wrong label = mislabeled = flipped label = corrupted label
label noise = label error = annotation error = random label
ntk = neural tangent kernel = tangent kernel = infinitely wide
sgd = stochastic gradient descent
gd = gradient descent
sgld = langevin
el2n = error vector
grand = gradient norm
ek-fac = ekfac = k-fac = kronecker-factored curvature
influence = attribution = training data attribution
fno = fourier neural operator = neural operator
pde = partial differential equation
lora = low-rank adapter = adapter = peft = parameter-efficient
moe = mixture of experts = expert routing
rl = reinforcement learning
imitation = behavior cloning = offline reinforcement learning
rlhf = reward model = preference = alignment
llm = large language model = language model = chatbot
vlm = vision-language model = image-text model = multimodal
icl = in-context learning = in-context example
nas = architecture search
cnn = convolutional network = convnet
mlp = fully connected = multilayer perceptron
ood generalization = domain generalization
tta = test-time adaptation
ece = calibration = calibrated
sam = sharpness-aware = flatness = flat minimum = sharpness
coreset = data pruning = data selection = subset = important example
unlearn = forget
catastrophic forgetting = forget
continual = lifelong = sequential task = in sequence
shortcut = spurious correlation = spurious feature = simplicity bias
adversarial = attack
robust = robustness
few-shot = few examples = few labelled = few images
zero-shot = unseen task = unseen class
deepfake = forged = manipulated face = fake face
finetune = fine-tune = tuning
double descent = overparametrized = interpolation threshold = overtraining peak
overparametrized = overparameterized = over-parametrized = wide network
backdoor = trigger = trojan
compositional = recombine = combine parts
length generalization = longer input = length extrapolation
best of n = best-of-k = inference-time scaling = test-time scaling
judge = verifier = reward model
bound = guarantee = pac-bayes
occam = simplicity = simple
regularization = weight decay = penalty
early stopping = stop training = overtraining
inductive bias = prior
prompt = context optimization
instruction tuning = instructions
robot = robotics = manipulation
medical = clinical = medicine
difficulty = hard = hardness
long-tailed = rare = concept frequency
"""
_LONGEST = 5


@cache
def table() -> dict[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the other ways to say a phrase, by the phrase's stems.

    >>> ("distribut", "shift") in table()["ood",]
    True
    """
    made: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for line in _TABLE.strip().splitlines():
        phrases = [_stems(phrase) for phrase in line.split("=")]
        for phrase in phrases:
            others = [p for p in phrases if p != phrase]
            made.setdefault(phrase, []).extend(others)
    return {phrase: tuple(dict.fromkeys(others)) for phrase, others in made.items()}


def others(stems: list[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return (phrase in the query, another way to say it) for every known phrase in it.

    Args:
        stems: of the query's words in order, stop words too.

    >>> others(["is", "overfit"])[0]
    (('overfit',), ('overtrain',))
    """
    known, found = table(), []
    for start in range(len(stems)):
        for end in range(start + 1, min(len(stems), start + _LONGEST) + 1):
            phrase = tuple(stems[start:end])
            found += [(phrase, other) for other in known.get(phrase, ())]
    return found


def _stems(phrase: str) -> tuple[str, ...]:
    return tuple(w.stem for w in words(phrase) if not w.extra)
