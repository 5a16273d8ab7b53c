"""The arithmetic of the model of scaling, against sums worked out by hand and pieces counted one by one."""

import re
from pathlib import Path

import pytest

from benchmarks.cases import VOCAB_SIZE
from benchmarks.pages import END
from benchmarks.scaling import CLUSTER, MODELS, START, generated, main, meshes
from benchmarks.scaling_model import (
    Cluster,
    Mesh,
    Traffic,
    Update,
    all_reduce_traffic,
    devices_at_limit,
    divided,
    gather_traffic,
    rows_at_limit,
    update,
    update_traffic,
)

DOCS = Path(__file__).parents[2] / "docs"
BASE, LARGE = MODELS
PARAMETERS = 109_089_024  # of BERT-base, by hand below


def gathered_pieces(count: int, stride: int, node_size: int) -> tuple[int, int]:
    """The pieces that the first of some devices takes in until it has one of each: in its node, from other nodes.

    A piece comes from another node where its owner has the same place there; all others have reached the own node then.
    """
    owners = [i * stride for i in range(1, count)]
    from_others = [o for o in owners if o // node_size and o % node_size == 0]
    return len(owners) - len(from_others), len(from_others)


@pytest.mark.parametrize(
    ("count", "stride"), [(1, 1), (2, 1), (8, 1), (16, 1), (512, 1), (64, 8), (8, 64), (4, 2), (32, 2), (1, 8)]
)
def test_a_gather_moves_each_piece_once(count, stride):
    inside, between = gathered_pieces(count, stride, 8)
    traffic = gather_traffic(1000.0 * count, count, stride)
    assert (traffic.nvlink, traffic.network) == pytest.approx((1000 * inside, 1000 * between))


def test_devices_that_do_not_fill_their_nodes_are_refused():
    with pytest.raises(ValueError, match="12 devices, 8 in a node"):
        gather_traffic(1.0, 12)


def test_an_all_reduce_of_one_device_moves_nothing():
    assert all_reduce_traffic(1e9, 1) == Traffic(0.0, 0.0)


def test_an_all_reduce_within_a_node_needs_no_network():
    assert all_reduce_traffic(8e9, 8) == Traffic(nvlink=14e9, network=0.0)


@pytest.mark.parametrize("devices", [2, 8, 16, 64, 512, 65_536])
def test_an_all_reduce_moves_the_bytes_of_a_ring(devices):
    assert all_reduce_traffic(1.0, devices).bytes == pytest.approx(2 * (devices - 1) / devices)


def test_an_all_reduce_of_many_devices_moves_twice_its_bytes():
    traffic = all_reduce_traffic(8.0, 2**20)
    assert traffic.bytes == pytest.approx(16, rel=1e-5)
    # all but an eighth of it in the node
    assert traffic.nvlink == pytest.approx(14)


def parameters_by_hand(width: int, layers: int, mlp_size: int) -> int:
    attention, norm = 4 * (width * width + width), 2 * width
    mlp = 2 * width * mlp_size + mlp_size + width
    head = width * width + width + norm
    return VOCAB_SIZE * width + norm + layers * (attention + mlp + 2 * norm) + head


def test_parameters_are_counted():
    assert parameters_by_hand(768, 12, 3072) == PARAMETERS
    assert BASE.parameters == PARAMETERS
    assert LARGE.parameters == parameters_by_hand(1024, 24, 4096)


@pytest.mark.parametrize(("model", "width", "layers"), [(BASE, 768, 12), (LARGE, 1024, 24)])
def test_operations_are_those_of_the_rule_of_thumb(model, width, layers):
    """Six a parameter and token, and those of attention and decoding; the last layer computes a little less."""
    tokens, decoded = 64 * 512, 0.15 * 64 * 512
    blocks = 6 * tokens * layers * 12 * width**2
    attention = 12 * tokens * 512 * width * layers
    thumb = blocks + attention + 6 * decoded * width * (VOCAB_SIZE + width)
    assert 0.9 * thumb < model.flops(64) < thumb


def test_the_times_of_data_parallelism_by_hand():
    size = 4 * PARAMETERS
    nvlink, network = 2 * 7 / 8 * size, 2 * 63 / 64 * size / 8
    traffic = update_traffic(BASE, Mesh(512))
    assert (traffic.nvlink, traffic.network) == pytest.approx((nvlink, network))
    assert nvlink == pytest.approx(763.6e6, rel=1e-3)
    assert network == pytest.approx(107.4e6, rel=1e-3)
    times = update(BASE, Mesh(512), Cluster(nvlink=450e9, network=50e9, reached=0.8, peak=989e12, mfu=0.41), 64)
    assert times.links == pytest.approx(763.6e6 / 360e9 + 107.4e6 / 40e9, rel=1e-3)  # 2.12 and 2.68 ms
    assert times.compute == pytest.approx(18.4e12 / 405.5e12, rel=5e-3)
    assert times.efficiency(overlaps=False) == pytest.approx(45.4 / (45.4 + 4.81), abs=1e-3)


def test_sharding_over_all_moves_half_as_much_again_as_data_parallelism():
    for devices in (8, 64, 512):
        sharded, alike = update_traffic(BASE, Mesh(1, devices)), update_traffic(BASE, Mesh(devices))
        assert (sharded.nvlink, sharded.network) == pytest.approx((1.5 * alike.nvlink, 1.5 * alike.network))


def test_sharding_within_nodes_adds_nothing_to_the_network():
    size = 4 * PARAMETERS
    traffic = update_traffic(BASE, Mesh(64, 8))
    assert traffic.nvlink == pytest.approx(3 * 7 / 8 * size)
    assert traffic.network == pytest.approx(2 * 63 / 64 * size / 8)
    assert traffic.network == pytest.approx(update_traffic(BASE, Mesh(512)).network)


def test_meshes_use_all_devices():
    assert meshes(8) == [Mesh(8), Mesh(1, 8)]
    assert meshes(64) == [Mesh(64), Mesh(8, 8), Mesh(1, 64)]
    assert {mesh.devices for mesh in meshes(512)} == {512}


def test_one_device_never_waits():
    times = update(BASE, Mesh(1), CLUSTER, 64)
    assert times.links == 0
    assert [times.efficiency(overlaps=overlaps) for overlaps in (False, True)] == [1, 1]


@pytest.mark.parametrize(
    ("compute", "links", "in_turn", "at_once"), [(6.0, 2.0, (8, 0.75), (6, 1.0)), (2.0, 6.0, (8, 0.25), (6, 1 / 3))]
)
def test_the_bounds_are_the_sum_and_the_longer_one(compute, links, in_turn, at_once):
    times = Update(compute, links)
    for overlaps, expected in ((False, in_turn), (True, at_once)):
        found = times.seconds(overlaps=overlaps), times.efficiency(overlaps=overlaps)
        assert found == pytest.approx(expected)


def test_accumulation_spares_links_only_where_sums_wait_for_it():
    mesh = Mesh(512)
    one = update(BASE, mesh, CLUSTER, 4)
    each, once = (update(BASE, mesh, CLUSTER, 4, steps=8, reduces_each_step=r) for r in (True, False))
    assert (each.compute, each.links) == pytest.approx((8 * one.compute, 8 * one.links))
    assert (once.compute, once.links) == pytest.approx((8 * one.compute, one.links))


def test_parameters_are_gathered_in_each_step_of_an_accumulation():
    size, mesh = 4 * PARAMETERS, Mesh(1, 8)
    once = update_traffic(BASE, mesh, steps=4, reduces_each_step=False)
    assert once.nvlink == pytest.approx((4 * 2 + 1) * 7 / 8 * size)


@pytest.mark.parametrize(
    ("batch", "devices", "expected"), [(8192, 8, (64, 16)), (8192, 512, (16, 1)), (256, 1, (64, 4))]
)
def test_batches_are_divided_into_steps_that_fit(batch, devices, expected):
    assert divided(batch, devices) == expected


def test_the_limits_that_the_page_names():
    """4.5 ms and more of links against 0.71 ms a row of BERT-base."""
    assert [rows_at_limit(BASE, Mesh(n), CLUSTER) for n in (8, 64, 512)] == [3, 7, 7]
    assert rows_at_limit(BASE, Mesh(1), CLUSTER) == 1
    assert [devices_at_limit(m, 256, CLUSTER) for m in MODELS] == [64, 64]
    assert [devices_at_limit(m, 8192, CLUSTER) for m in MODELS] == [2048, 2048]


def test_no_number_of_devices_is_the_limit_of_infinite_links():
    assert devices_at_limit(BASE, 256, Cluster(nvlink=1e18, network=1e18)) is None


def test_a_device_holds_its_share_of_parameters_and_moments():
    assert BASE.state_bytes() == 12 * PARAMETERS
    assert BASE.state_bytes(accumulates=True) == 16 * PARAMETERS
    assert BASE.state_bytes(64) == pytest.approx(12 * PARAMETERS / 64)


def test_the_speed_of_a_device_is_that_of_the_roofline():
    """Of its row with launches: where programs get better, the model does, too."""
    (row,) = re.findall(
        r"^\| mlm-base-64x512 \|.*$", (DOCS / "performance" / "gpu.md").read_text("utf-8"), re.MULTILINE
    )
    cells = [cell.strip() for cell in row.split("|")]
    assert f"{CLUSTER.mfu:.0%}" == cells[9]


def test_the_tables_of_the_page_are_those_that_the_script_prints(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert f"{START}\n\n{printed}\n{END}\n" in (DOCS / "scaling.md").read_text(encoding="utf-8")


def test_the_tables_are_written_between_their_marks(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{START}\nold\n{END}\nThe end.\n", encoding="utf-8")
    assert main(["--write", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text == "\n".join([f"# Page\n\n{START}\n", *generated(), f"\n{END}\nThe end.\n"])
    page.write_text("# Page\n", encoding="utf-8")
    assert main(["--write", str(page)]) == 2
    assert "no generated part" in capsys.readouterr().err
