"""Exact and approximate neighbours: against faiss, against a slow oracle, at their edges."""

import numpy as np
import pytest

from recsys_lab.limits.neighbours import InvertedFile, best, exact_top_k, nearest, recall

faiss = pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(3)
    items = rng.standard_normal((3000, 16)).astype(np.float32)
    items *= rng.lognormal(0, 0.7, (3000, 1)).astype(np.float32)  # lengths differ, as films' do
    return items, rng.standard_normal((40, 16)).astype(np.float32)


def test_exact_is_that_of_faiss_to_the_letter(points):
    items, queries = points
    index = faiss.IndexFlatIP(16)
    index.add(items)
    assert (exact_top_k(queries, items, 20) == index.search(queries, 20)[1]).all()


def test_equal_scores_go_to_the_lower_index():
    items = np.array([[1.0], [2.0], [2.0], [0.0], [2.0]])
    assert exact_top_k(np.ones((1, 1)), items, 4).tolist() == [[1, 2, 4, 0]]
    assert best(np.zeros(5), 3).tolist() == [0, 1, 2]
    assert exact_top_k(-np.ones((1, 1)), items, 2).tolist() == [[3, 0]]


@pytest.mark.parametrize("probe", ["ip", "l2"])
def test_the_same_cells_give_the_lists_of_faiss(points, probe):
    items, queries = points
    ours = InvertedFile(30, probe, seed=1).fit(items)
    quantizer = faiss.IndexFlatIP(16) if probe == "ip" else faiss.IndexFlatL2(16)
    quantizer.add(ours.centres)
    theirs = faiss.IndexIVFFlat(quantizer, 16, 30, faiss.METRIC_INNER_PRODUCT)
    theirs.is_trained = True
    cells = ours.cell.astype(np.int64)
    theirs.add_core(len(items), faiss.swig_ptr(items), None, faiss.swig_ptr(cells))
    for n_probe in (1, 2, 5, 30):
        theirs.nprobe = n_probe
        assert (ours.search(queries, 10, n_probe)[0] == theirs.search(queries, 10)[1]).all()


def test_cells_are_those_of_the_nearest_centre(points):
    items, _ = points
    index = InvertedFile(25).fit(items)
    distance = np.linalg.norm(items[:, None] - index.centres[None], axis=2)
    assert (index.cell == distance.argmin(1)).all()
    assert sorted(np.concatenate(index.lists)) == list(range(len(items)))
    assert all((index.cell[one] == cell).all() for cell, one in enumerate(index.lists))


def test_rounds_of_k_means_bring_items_nearer_to_their_centres(points):
    items, _ = points

    def spread(n):
        index = InvertedFile(25, n_iterations=n).fit(items)
        return ((items - index.centres[index.cell]) ** 2).sum()

    values = [spread(n) for n in (0, 1, 3, 10)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.9 * values[0]


def test_all_cells_probed_is_exact_and_recall_never_falls(points):
    items, queries = points
    index, true = InvertedFile(40).fit(items), exact_top_k(queries, items, 10)
    curve, work = [], []
    for n_probe in (1, 3, 10, 20, 40):
        found, products = index.search(queries, 10, n_probe)
        curve.append(recall(found, true))
        work.append(products.mean())
    assert (np.diff(curve, axis=0) >= 0).all() and (curve[-1] == 1).all()
    assert curve[0].mean() < 0.9, "one cell in forty should lose something"
    assert work == sorted(work) and work[-1] == 40 + len(items)


def test_probing_by_distance_loses_inner_products_of_long_vectors():
    """Two cells: the query stands beside the short vectors, the long ones have the products."""
    short, long = np.full((5, 2), 0.1), np.full((5, 2), 9.0)
    items, query = np.vstack([short, long]), np.array([[0.2, 0.2]])
    for probe, share in (("ip", 1), ("l2", 0)):
        index = InvertedFile(2, probe).fit(items, np.array([[0.1, 0.1], [9.0, 9.0]]))
        assert recall(index.search(query, 5, 1)[0], exact_top_k(query, items, 5)) == share


def test_cells_with_too_few_items_leave_places_empty():
    items = np.array([[1.0, 0], [0, 1.0], [0, 2.0]])
    index = InvertedFile(2).fit(items, np.array([[1.0, 0], [0, 1.5]]))
    assert index.search(np.array([[1.0, 0]]), 3, 1)[0].tolist() == [[0, -1, -1]]
    empty = InvertedFile(2).fit(items, np.array([[0.0, 1.0], [99.0, 99.0]]))
    assert empty.search(np.array([[1.0, 1.0]]), 2, 1)[0].tolist() == [[-1, -1]]


def test_the_seed_decides(points):
    items, _ = points
    one, same, other = (InvertedFile(20, seed=s).fit(items).centres for s in (0, 0, 1))
    assert (one == same).all() and not (one == other).all()


def test_nearest_in_blocks_is_nearest_at_once(points):
    items, _ = points
    centres = items[:7]
    assert (nearest(items, centres, 100) == nearest(items, centres)).all()


def test_recall_counts_shares():
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 9], [3, 4]])).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="2 rows"):
        recall(np.zeros((2, 1)), np.zeros((3, 1)))


@pytest.mark.parametrize("k", [0, 4])
def test_a_bad_k_is_refused(k):
    with pytest.raises(ValueError, match="choose 1 to 3"):
        exact_top_k(np.ones((1, 2)), np.ones((3, 2)), k)


def test_bad_settings_are_refused(points):
    items, queries = points
    with pytest.raises(ValueError, match="probe"):
        InvertedFile(3, "cosine")
    with pytest.raises(ValueError, match="cells start at 1"):
        InvertedFile(0)
    with pytest.raises(ValueError, match="fewer cells"):
        InvertedFile(10).fit(items[:5])
    with pytest.raises(ValueError, match=r"expected \(n, d\)"):
        exact_top_k(queries[:, :5], items, 3)
    with pytest.raises(ValueError, match="choose 1 to 4"):
        InvertedFile(4).fit(items).search(queries, 3, 5)
