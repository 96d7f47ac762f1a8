"""Networks that training begins from: from those with other levels or classes, and from exports."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
networks = pytest.importorskip("models.recipes.networks")
rebuild = pytest.importorskip("models.recipes.rebuild")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three levels, not trained."""
    path = tmp_path_factory.mktemp("networks") / "n.pt"
    networks.export(networks.skeleton("n"), path)
    return path


def test_a_finest_level_leaves_the_others_weights_where_they_belong(plain: Path) -> None:
    old = networks.network(plain).state_dict()
    new = networks.network(plain, "n-p2").state_dict()
    for mine, theirs in (("9.cv2", "9.cv2"), ("18.cv1", "24.cv1"), ("21.m.0.cv2", "27.m.0.cv2")):
        assert (old[f"model.{mine}.conv.weight"] == new[f"model.{theirs}.conv.weight"]).all()
    for branch in ("cv2", "cv3"):  # each level's head goes with its level
        assert (old[f"model.22.{branch}.0.1.conv.weight"] == new[f"model.28.{branch}.1.1.conv.weight"]).all()
        assert (old[f"model.22.{branch}.2.2.bias"] == new[f"model.28.{branch}.3.2.bias"]).all()


def test_a_network_that_was_saved_is_the_base_of_one_of_its_kind(plain: Path, tmp_path: Path) -> None:
    first = networks.network(plain, "n-p2")
    networks.export(first, tmp_path / "n-p2.pt")
    again = networks.network(tmp_path / "n-p2.pt", "n-p2").state_dict()
    assert all(torch.equal(value.half().float(), again[name].float()) for name, value in first.state_dict().items())


def test_normalization_is_put_back_without_changing_answers() -> None:
    torch.manual_seed(0)
    source = networks.skeleton("n").eval()
    for module in source.modules():
        if isinstance(module, rebuild.Conv):  # as an export has it: nothing to normalize, a bias instead
            module.bn.bias.data.normal_(0, 0.1)
            module.bn.running_var.fill_(1 - module.bn.eps)
    weights = {n: v.numpy() for n, v in source.state_dict().items() if "conv" in n or n.endswith((".weight", ".bias"))}
    weights |= {n.replace(".bn.", ".conv."): v for n, v in weights.items() if n.endswith(".bn.bias")}
    model = rebuild.rebuilt(weights, "n")
    images = torch.rand(2, 3, 64, 64)
    before = model(images)[0].detach().clone()
    rebuild.normalize(model, images)
    assert torch.allclose(before, model(images)[0], rtol=1e-3, atol=1e-3)
    assert model.model[0].bn.running_mean.abs().sum() > 0
    assert torch.allclose(before, source(images)[0], rtol=1e-3, atol=1e-3)
