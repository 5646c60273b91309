"""Plausible wrong answers to lab 1. Each loses points in its own task, and in no other."""

from mutants.in_process import Mutant

# Wrong answers that nbgrader grades too.
CONFIRMED = ("ties by film id", "the penalty chosen on the test")

SPLIT, POPULARITY, COSINE, KNN = "answer_split", "answer_popularity", "answer_cosine", "answer_knn"
TOP_K, RECALL, NDCG = "answer_top_k", "answer_recall", "answer_ndcg"
EASE, CHOICE = "answer_ease", "answer_choice"
INTERVAL, TABLE, VERDICTS = "answer_interval", "answer_table", "answer_verdicts"

MUTANTS = [
    # ---- task 1: the split ----
    Mutant(
        "the test rows stay in train",
        "task_1",
        SPLIT,
        """
        - train.append(mine[n_held:])
        + train.append(mine)
        """,
        "in train and in .*the model has seen them",
    ),
    Mutant(
        "validation and test overlap",
        "task_1",
        SPLIT,
        """
        - validation.append(mine[n_test:n_held])
        + validation.append(mine[: n_held - n_test])
        """,
        "in validation and in test",
    ),
    Mutant(
        "drawn with replacement",
        "task_1",
        SPLIT,
        """
        - rng.permutation(np.flatnonzero(users == user))
        + np.flatnonzero(users == user)
        +         mine = rng.choice(mine, len(mine))
        """,
        "replacement|in train and in",
    ),
    Mutant(
        "validation ratings are lost",
        "task_1",
        SPLIT,
        """
        - validation.append(mine[n_test:n_held])
        + validation.append(mine[:0])
        """,
        "in no part",
    ),
    Mutant(
        "not stratified: one draw over all ratings",
        "task_1",
        SPLIT,
        """
        - for user in np.unique(users):
        + for user in [None]:
        - np.flatnonzero(users == user)
        + len(users)
        """,
        "draw within each user, or from all ratings at once",
    ),
    Mutant(
        "shares rounded down",
        "task_1",
        SPLIT,
        """
        - round(len(mine) * test_fraction)
        + int(len(mine) * test_fraction)
        - round(len(mine) * validation_fraction)
        + int(len(mine) * validation_fraction)
        """,
        "round down",
    ),
    Mutant(
        "the test is each user's first rows",
        "task_1",
        SPLIT,
        """
        - rng.permutation(np.flatnonzero(users == user))
        + np.flatnonzero(users == user)
        """,
        "first or last ratings",
    ),
    Mutant(
        "the seed is not used",
        "task_1",
        SPLIT,
        """
        - default_rng(seed)
        + default_rng()
        """,
        "one seed, two splits",
    ),
    Mutant(
        "every user gets the same draw",
        "task_1",
        SPLIT,
        """
        - mine = rng.permutation(
        + mine = np.random.default_rng(seed).permutation(
        """,
        "one and the same draw",
    ),
    # ---- task 2: popularity and neighbours ----
    Mutant(
        "popularity of users, not of films",
        "task_2",
        POPULARITY,
        """
        - np.tile(seen.sum(axis=0), (len(seen), 1))
        + np.tile(seen.sum(axis=1)[:, None], (1, seen.shape[1]))
        """,
        "each user's ratings, not each film's",
    ),
    Mutant(
        "popularity without a row a user",
        "task_2",
        POPULARITY,
        """
        - np.tile(seen.sum(axis=0), (len(seen), 1))
        + seen.sum(axis=0)
        """,
        r"shape \(3,\), expected \(5, 3\)",
    ),
    Mutant(
        "Pearson's correlation for the cosine",
        "task_2",
        COSINE,
        """
        - common = seen.T @ seen
        + seen = seen - seen.mean(axis=0)
        +     common = seen.T @ seen
        """,
        "Pearson",
    ),
    Mutant(
        "similarity of users",
        "task_2",
        COSINE,
        """
        - common = seen.T @ seen
        + common = seen @ seen.T
        """,
        "Compare films, the columns, not users",
    ),
    Mutant(
        "normalised over the wrong axis",
        "task_2",
        COSINE,
        """
        - common = seen.T @ seen
        + seen = seen / np.sqrt(np.maximum(seen.sum(axis=1, keepdims=True), 1))
        +     common = seen.T @ seen
        - common / np.where(product > 0, product, 1)
        + common
        """,
        "users' rows, not of the films' columns",
    ),
    Mutant(
        "divided by the counts, not by their roots",
        "task_2",
        COSINE,
        """
        - np.sqrt(np.diag(common))
        + np.diag(common)
        """,
        "take their square roots",
    ),
    Mutant(
        "not divided at all",
        "task_2",
        COSINE,
        """
        - common / np.where(product > 0, product, 1)
        + common
        """,
        "not divided by the lengths yet",
    ),
    Mutant(
        "Jaccard for the cosine",
        "task_2",
        COSINE,
        """
        - product = np.outer(length, length)
        + product = np.add.outer(length**2, length**2) - common
        """,
        "Jaccard",
    ),
    Mutant(
        "the diagonal left at one",
        "task_2",
        COSINE,
        """
        -     np.fill_diagonal(similarity, 0)
        """,
        "its own nearest neighbour",
    ),
    Mutant(
        "nan for a film without ratings",
        "task_2",
        COSINE,
        """
        - np.where(product > 0, product, 1)
        + product
        - np.fill_diagonal(similarity, 0)
        + similarity *= 1 - np.eye(len(similarity))
        """,
        "nan: a film without ratings",
    ),
    Mutant(
        "neighbours of the rated film",
        "task_2",
        KNN,
        """
        - kept.T
        + kept
        """,
        "whose neighbours",
    ),
    Mutant(
        "all films are neighbours",
        "task_2",
        KNN,
        """
        - [:, :n_neighbors]
        """,
        "keep only the n_neighbors",
    ),
    Mutant(
        "the least similar films are neighbours",
        "task_2",
        KNN,
        """
        - np.argsort(-similarity
        + np.argsort(similarity
        """,
        "least similar",
    ),
    Mutant(
        "more neighbours than films crash",
        "task_2",
        KNN,
        """
        - np.argsort(-similarity, axis=1)[:, :n_neighbors]
        + np.argpartition(-similarity, n_neighbors - 1, axis=1)[:, :n_neighbors]
        """,
        "out of bounds",
    ),
    Mutant(
        "the similarity is changed in place",
        "task_2",
        KNN,
        """
        - np.zeros_like(similarity)
        + similarity
        - nearest = 
        + similarity[similarity < np.sort(similarity)[:, -n_neighbors:][:, :1]] = 0
        +     nearest = 
        """,
        "changes the similarity",
    ),
    # ---- task 3: lists ----
    Mutant(
        "films of the training data are listed",
        "task_3",
        TOP_K,
        """
        - np.where(seen > 0, -np.inf, scores)
        + scores
        """,
        "takes a place from one that could count",
    ),
    Mutant(
        "seen films get the score zero",
        "task_3",
        TOP_K,
        """
        - np.where(seen > 0, -np.inf, scores)
        + scores * (1 - seen)
        """,
        "scores may be negative",
    ),
    Mutant(
        "worst films first",
        "task_3",
        TOP_K,
        """
        - np.where(seen > 0, -np.inf, scores)
        + np.where(seen > 0, np.inf, scores)
        - -candidates
        + candidates
        """,
        "sort from high to low",
    ),
    Mutant(
        "ties by film id",
        "task_3",
        TOP_K,
        """
        - np.lexsort((rng.random(scores.shape), -candidates), axis=1)
        + np.argsort(-candidates, axis=1, kind="stable")
        """,
        "ties fall by film id",
    ),
    Mutant(
        "ties by film id, backwards",
        "task_3",
        TOP_K,
        """
        - np.lexsort((rng.random(scores.shape), -candidates), axis=1)
        + np.argsort(candidates, axis=1, kind="stable")[:, ::-1]
        """,
        "ties fall by film id",
    ),
    Mutant(
        "one shuffle for all users",
        "task_3",
        TOP_K,
        """
        - rng.random(scores.shape)
        + np.tile(rng.random(scores.shape[1]), (len(scores), 1))
        """,
        "one shuffle for all users",
    ),
    Mutant(
        "noise added to the scores",
        "task_3",
        TOP_K,
        """
        - np.lexsort((rng.random(scores.shape), -candidates), axis=1)
        + np.argsort(-candidates - 1e-6 * rng.random(scores.shape), axis=1)
        """,
        "noise",
    ),
    Mutant(
        "ties by a seed of its own",
        "task_3",
        TOP_K,
        """
        - default_rng(seed)
        + default_rng(0)
        """,
        "use the seed",
    ),
    Mutant(
        "the scores are changed in place",
        "task_3",
        TOP_K,
        """
        - candidates = np.where(seen > 0, -np.inf, scores)
        + candidates = scores
        +     candidates[seen > 0] = -np.inf
        """,
        "changes the scores",
    ),
    # ---- task 4: metrics ----
    Mutant(
        "precision for recall",
        "task_4",
        RECALL,
        """
        - hits.sum(axis=1) / np.maximum(n_relevant, 1)
        + hits.mean(axis=1)
        """,
        "precision",
    ),
    Mutant(
        "recall divided by min(R, k)",
        "task_4",
        RECALL,
        """
        - np.maximum(n_relevant, 1)
        + np.clip(n_relevant, 1, ranked.shape[1])
        """,
        "recall divides by all R",
    ),
    Mutant(
        "recall over places, not over users",
        "task_4",
        RECALL,
        """
        - np.where(n_relevant > 0, hits.sum(axis=1) / np.maximum(n_relevant, 1), np.nan)
        + hits.mean(axis=0)
        """,
        "one number a user",
    ),
    Mutant(
        "recall pooled over all users",
        "task_4",
        RECALL,
        """
        - hits.sum(axis=1) / np.maximum(n_relevant, 1)
        + hits.sum() / n_relevant.sum()
        """,
        "pool all users",
    ),
    Mutant(
        "recall 0 for a user with nothing to find",
        "task_4",
        RECALL,
        """
        - np.nan
        + 0.0
        """,
        "recall_at_k: a user without relevant films gets 0",
    ),
    Mutant(
        "discount log2(rank), the first rank whole",
        "task_4",
        NDCG,
        """
        - 1 / np.log2(np.arange(1, k + 1) + 1)
        + 1 / np.log2(np.maximum(np.arange(1, k + 1), 2))
        """,
        "one rank early",
    ),
    Mutant(
        "discount log2(rank), infinite at the first",
        "task_4",
        NDCG,
        """
        - np.arange(1, k + 1) + 1
        + np.arange(1, k + 1)
        """,
        r"log2\(1\) = 0",
    ),
    Mutant(
        "discount log2(rank + 2)",
        "task_4",
        NDCG,
        """
        - np.arange(1, k + 1) + 1
        + np.arange(1, k + 1) + 2
        """,
        "one rank late",
    ),
    Mutant(
        "discount 1 / rank",
        "task_4",
        NDCG,
        """
        - 1 / np.log2(np.arange(1, k + 1) + 1)
        + 1 / np.arange(1, k + 1)
        """,
        "divide by the rank",
    ),
    Mutant(
        "the ideal has k hits",
        "task_4",
        NDCG,
        """
        - np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
        + discount.sum()
        """,
        r"for k hits, not min\(n_relevant, k\)",
    ),
    Mutant(
        "the ideal is longer than k",
        "task_4",
        NDCG,
        """
        - np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
        + np.cumsum(1 / np.log2(np.arange(2, relevant.shape[1] + 2)))[n_relevant - 1]
        """,
        "ideal list is longer than k",
    ),
    Mutant(
        "DCG, not divided",
        "task_4",
        NDCG,
        """
        - hits @ discount / best
        + hits @ discount
        """,
        "not divided by that of the best list",
    ),
    Mutant(
        "the ideal sorts the films listed",
        "task_4",
        NDCG,
        """
        - np.minimum(n_relevant, k) - 1
        + np.maximum(hits.sum(axis=1), 1) - 1
        """,
        "sorts the films listed",
    ),
    Mutant(
        "nDCG 0 for a user with nothing to find",
        "task_4",
        NDCG,
        """
        - np.nan
        + 0.0
        """,
        "ndcg_at_k: a user without relevant films gets 0",
    ),
    # ---- task 5: EASE ----
    Mutant(
        "rows scaled for columns",
        "task_5",
        EASE,
        """
        - -inverse / np.diag(inverse)
        + -inverse / np.diag(inverse)[:, None]
        """,
        "you divide the rows",
    ),
    Mutant(
        "the sign turned",
        "task_5",
        EASE,
        """
        - -inverse / np.diag(inverse)
        + inverse / np.diag(inverse)
        """,
        "the sign is turned",
    ),
    Mutant(
        "not divided by the diagonal",
        "task_5",
        EASE,
        """
        - -inverse / np.diag(inverse)
        + -inverse
        """,
        "not divided by its diagonal",
    ),
    Mutant(
        "the penalty on every entry",
        "task_5",
        EASE,
        """
        - l2 * np.eye(seen.shape[1])
        + l2
        """,
        "the diagonal only",
    ),
    Mutant(
        "the diagonal not zeroed",
        "task_5",
        EASE,
        """
        -     np.fill_diagonal(weights, 0)
        """,
        "set it to zero",
    ),
    Mutant(
        "plain ridge: each film explains itself",
        "task_5",
        EASE,
        """
        - weights = -inverse / np.diag(inverse)
        + weights = inverse @ (seen.T @ seen)
        -     np.fill_diagonal(weights, 0)
        """,
        "explains itself",
    ),
    Mutant(
        "the penalty chosen on the test",
        "task_5",
        CHOICE,
        """
        - "validation"
        + "test"
        """,
        "opens the test part",
    ),
    Mutant(
        "the worst penalty chosen",
        "task_5",
        CHOICE,
        """
        - max(quality
        + min(quality
        """,
        "worst of the grid",
    ),
    Mutant(
        "the penalty that fits the training data best",
        "task_5",
        CHOICE,
        """
        - judge(seen @ ease_weights(seen, l2), split, "validation")
        + -np.sum((seen - seen @ ease_weights(seen, l2)) ** 2)
        """,
        "worst of the grid|on validation l2",
    ),
    # ---- task 6: interval, table, verdict ----
    Mutant(
        "a and b draw different users",
        "task_6",
        INTERVAL,
        """
        - difference[drawn].mean(axis=1)
        + np.asarray(a)[drawn].mean(axis=1) - np.asarray(b)[np.roll(drawn, 1, axis=0)].mean(axis=1)
        """,
        "do a and b draw different users",
    ),
    Mutant(
        "one standard error to each side",
        "task_6",
        INTERVAL,
        """
        - np.quantile(difference[drawn].mean(axis=1), [0.025, 0.975])
        + difference.mean() + np.array([-1, 1]) * difference.std() / np.sqrt(n)
        """,
        "one standard error",
    ),
    Mutant(
        "quantiles of the users",
        "task_6",
        INTERVAL,
        """
        - difference[drawn].mean(axis=1)
        + difference
        """,
        "quantiles of the users",
    ),
    Mutant(
        "an interval of 90 %",
        "task_6",
        INTERVAL,
        """
        - [0.025, 0.975]
        + [0.05, 0.95]
        """,
        "90 %",
    ),
    Mutant(
        "as many users drawn as there are draws",
        "task_6",
        INTERVAL,
        """
        - size=(n_boot, n)
        + size=(n_boot, n_boot)
        """,
        "draw as many users as there are",
    ),
    Mutant(
        "b minus a",
        "task_6",
        INTERVAL,
        """
        - np.asarray(a) - np.asarray(b)
        + np.asarray(b) - np.asarray(a)
        """,
        "is it a minus b",
    ),
    Mutant(
        "a table without chance",
        "task_6",
        TABLE,
        """
        - ("chance", "popularity")
        + ("popularity",)
        """,
        "a table without chance came out",
    ),
    Mutant(
        "each model over its own users",
        "task_6",
        TABLE,
        """
        - pd.DataFrame(results).dropna()
        + pd.DataFrame(results)
        - table[name].mean(), *paired_interval(table[name], table[reference]), len(table)
        + table[name].mean(),
        + *paired_interval(*table[[name, reference]].fillna(0).to_numpy().T),
        + table[name].count(),
        """,
        "only they compare",
    ),
    Mutant(
        "the interval of the mean beside the difference",
        "task_6",
        TABLE,
        """
        - *paired_interval(table[name], table[reference])
        + (table[name] - table[reference]).mean(), *paired_interval(table[name], 0)[1:]
        """,
        "belong to the difference, not to the mean",
    ),
    Mutant(
        "the verdict by the sign of the mean",
        "task_6",
        VERDICTS,
        """
        - _, low, high = 
        + mean, _, _ = 
        - "better" if low > 0 else "worse" if high < 0 else "undecided"
        + "better" if mean > 0 else "worse"
        """,
        "a mean that differs is no finding",
    ),
    Mutant(
        "better and worse turned",
        "task_6",
        VERDICTS,
        """
        - "better" if low > 0 else "worse" if
        + "worse" if low > 0 else "better" if
        """,
        "look at the sign",
    ),
    Mutant(
        "nothing is ever decided",
        "task_6",
        VERDICTS,
        """
        - "better" if low > 0 else "worse" if high < 0 else "undecided"
        + "undecided"
        """,
        "does not hold zero",
    ),
]

# Right answers in another style: they lose nothing.
ALTERNATIVES = {
    SPLIT: """
def split_per_user(users, test_fraction, validation_fraction, seed):
    key = np.random.default_rng(seed).random(len(users))
    table = pd.DataFrame({"user": users, "key": key})
    rank = table.groupby("user")["key"].rank().to_numpy()
    m = table.groupby("user")["key"].transform("size").to_numpy()
    n_test = np.round(m * test_fraction)
    n_held = n_test + np.round(m * validation_fraction)
    part = np.where(rank <= n_test, 2, np.where(rank <= n_held, 1, 0))
    return [np.flatnonzero(part == p).tolist() for p in range(3)]
""",
    POPULARITY: """
def popularity_scores(seen):
    return np.broadcast_to(np.count_nonzero(seen, axis=0), seen.shape)
""",
    COSINE: """
def item_similarity(seen):
    from sklearn.metrics.pairwise import cosine_similarity
    from scipy.sparse import csr_matrix
    similarity = cosine_similarity(csr_matrix(seen.T), dense_output=False).tolil()
    similarity.setdiag(0)
    return similarity.tocsr()
""",
    KNN: """
def knn_scores(seen, similarity, n_neighbors):
    scores = np.zeros(seen.shape)
    for film in range(seen.shape[1]):
        for other in np.argsort(similarity[film])[::-1][:n_neighbors]:
            scores[:, film] += seen[:, other] * similarity[film, other]
    return scores.tolist()
""",
    TOP_K: """
def top_k(scores, seen, k, seed):
    rng = np.random.default_rng(seed)
    lists = []
    for row, known in zip(scores, seen):
        order = rng.permutation(len(row))
        order = order[known[order] == 0]
        lists.append(order[np.argsort(-row[order], kind="stable")][:k])
    return lists
""",
    RECALL: """
def recall_at_k(ranked, relevant):
    with np.errstate(invalid="warn"):  # a warning must cost nothing
        return np.take_along_axis(relevant, ranked, 1).sum(1) / relevant.sum(1)
""",
    NDCG: """
def ndcg_at_k(ranked, relevant):
    values = []
    for row, wanted in zip(ranked, relevant):
        gains = [1 / np.log2(r + 2) for r, film in enumerate(row) if wanted[film]]
        ideal = [1 / np.log2(r + 2) for r in range(min(len(row), wanted.sum()))]
        values.append(sum(gains) / sum(ideal) if ideal else float("nan"))
    return values
""",
    EASE: """
def ease_weights(seen, l2):
    n = seen.shape[1]
    gram = seen.T @ seen
    weights = np.zeros((n, n))
    for film in range(n):  # by its definition: a regression a film
        others = np.arange(n) != film
        system = gram[np.ix_(others, others)] + l2 * np.eye(n - 1)
        weights[others, film] = np.linalg.solve(system, gram[others, film])
    return weights
""",
    CHOICE: """
def choose_l2(split, grid):
    best, best_value = None, -1.0
    for l2 in grid:
        model = EASE(l2).fit(split.train)
        value = evaluate(model, split, part="validation", metrics=["ndcg"])["ndcg"].mean()
        if value > best_value:
            best, best_value = l2, value
    return best
""",
    INTERVAL: """
def paired_interval(a, b, n_boot=2000, seed=0):
    rng = np.random.default_rng(seed)
    d = np.subtract(a, b)
    means = [rng.choice(d, len(d)).mean() for _ in range(n_boot)]
    return [d.mean(), *np.percentile(means, [2.5, 97.5])]
""",
    TABLE: """
def honest_table(results, reference="popularity"):
    if missing := {"chance", "popularity"} - set(results):
        raise ValueError(f"rows are missing: {missing}")
    both = np.isfinite(np.column_stack(list(results.values()))).all(axis=1)
    table = pd.DataFrame(index=list(results), columns=["n", "mean", "diff", "low", "high"])
    for name, values in results.items():
        mean, low, high = paired_interval(values[both], results[reference][both])
        table.loc[name] = [both.sum(), values[both].mean(), mean, low, high]
    return table
""",
    VERDICTS: """
def verdicts_against(results, reference):
    verdicts = {}
    for name in set(results) - {reference}:
        ends = stats.ttest_rel(results[name], results[reference]).confidence_interval()
        verdicts[name] = {2: "better", -2: "worse", 0: "undecided"}[int(sum(np.sign(ends)))]
    return verdicts
""",
}
