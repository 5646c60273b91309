"""Plausible wrong answers to lab 7. Each loses points in its own task, and in no other."""

from mutants.in_process import Mutant

# Wrong answers that nbgrader grades too.
CONFIRMED = ("memory against test", "a film protected, not a person")

REQUEST = "answer_request"
P95 = "answer_p95"
ANY_SLOW = "answer_any_slow"
QUANTISE = "answer_quantise"
WORST = "answer_worst_error"
REMEMBERED = "answer_remembered"
SURE = "answer_sure"
BOUNDED = "answer_bounded"
NOISY = "answer_noisy"
TRUE_SHARE = "answer_true_share"
FALL = "answer_fall"
BY_LOT = "answer_by_lot"
LIFT = "answer_lift"
GAP = "answer_gap"
P_VALUE = "answer_p"
VARIED = "answer_varied"
BOLDEST = "answer_boldest"
FINDINGS = "answer_findings"
JUDGED = "answer_judged"
REPORT = "answer_report"

MUTANTS = [
    # ---- task 1: what a request costs ----
    Mutant(
        "users not stored",
        "task_1",
        REQUEST,
        """
        - (n_users + n_items) * row
        + n_items * row
        """,
        "rows of the users are stored",
    ),
    Mutant(
        "everybody read",
        "task_1",
        REQUEST,
        """
        - (1 + n_items) * row
        + (n_users + n_items) * row
        """,
        "the row of one user",
    ),
    Mutant(
        "the user not read",
        "task_1",
        REQUEST,
        """
        - (1 + n_items) * row
        + n_items * row
        """,
        "the user who asks is read",
    ),
    Mutant(
        "one item read",
        "task_1",
        REQUEST,
        """
        - (1 + n_items) * row
        + 2 * row
        """,
        "all items are scored, not one",
    ),
    Mutant(
        "a multiply-add as one",
        "task_1",
        REQUEST,
        """
        - 2 * n_items * d
        + n_items * d
        """,
        "a product and its addition are two",
    ),
    Mutant(
        "the first product for nothing",
        "task_1",
        REQUEST,
        """
        - 2 * n_items * d
        + n_items * (2 * d - 1)
        """,
        "first product is added too",
    ),
    Mutant(
        "all users ask",
        "task_1",
        REQUEST,
        """
        - 2 * n_items * d
        + 2 * n_items * d * n_users
        """,
        "one user asks",
    ),
    Mutant(
        "one item computed",
        "task_1",
        REQUEST,
        """
        - 2 * n_items * d
        + 2 * d
        """,
        "operations: all items are scored",
    ),
    Mutant(
        "numbers, not bytes",
        "task_1",
        REQUEST,
        """
        - row = d * n_bytes
        + row = d
        """,
        "numbers, not bytes",
    ),
    Mutant(
        "bits",
        "task_1",
        REQUEST,
        """
        - row = d * n_bytes
        + row = 8 * d * n_bytes
        """,
        "these are bits",
    ),
    Mutant(
        "operations by bytes",
        "task_1",
        REQUEST,
        """
        - 2 * n_items * d
        + 2 * n_items * row
        """,
        "operations are no bytes",
    ),
    Mutant(
        "the mean of percentiles",
        "task_1",
        P95,
        """
        -     times = np.sort(np.concatenate(servers))
        -     share = np.arange(1, len(times) + 1) / len(times)
        -     return times[np.argmax(share >= 0.95 - 1e-12)]
        +     own = [np.quantile(times, 0.95, method="inverted_cdf") for times in servers]
        +     return np.mean(own)
        """,
        "mean of the servers' percentiles",
    ),
    Mutant(
        "the largest percentile",
        "task_1",
        P95,
        """
        -     times = np.sort(np.concatenate(servers))
        -     share = np.arange(1, len(times) + 1) / len(times)
        -     return times[np.argmax(share >= 0.95 - 1e-12)]
        +     own = [np.quantile(times, 0.95, method="inverted_cdf") for times in servers]
        +     return max(own)
        """,
        "largest of the servers' percentiles",
    ),
    Mutant(
        "percentiles weighted",
        "task_1",
        P95,
        """
        -     times = np.sort(np.concatenate(servers))
        -     share = np.arange(1, len(times) + 1) / len(times)
        -     return times[np.argmax(share >= 0.95 - 1e-12)]
        +     own = [np.quantile(times, 0.95, method="inverted_cdf") for times in servers]
        +     return np.average(own, weights=[len(times) for times in servers])
        """,
        "percentiles are weighted",
    ),
    Mutant(
        "between two times",
        "task_1",
        P95,
        """
        -     share = np.arange(1, len(times) + 1) / len(times)
        -     return times[np.argmax(share >= 0.95 - 1e-12)]
        +     return np.percentile(times, 95)
        """,
        "between two measured times",
    ),
    Mutant(
        "the mean time",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + times.mean()
        """,
        "this is the mean: who waits",
    ),
    Mutant(
        "the longest time",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + times[-1]
        """,
        "longest time of all",
    ),
    Mutant(
        "the quick end",
        "task_1",
        P95,
        """
        - 0.95 - 1e-12
        + 0.05 - 1e-12
        """,
        "the other end",
    ),
    Mutant(
        "one place early",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + times[int(0.95 * len(times)) - 1]
        """,
        "one place too early",
    ),
    Mutant(
        "the place after",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + times[int(0.95 * len(times))]
        """,
        "19 of them are 95 %",
    ),
    Mutant(
        "the rounded place",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + times[round(0.95 * len(times)) - 1]
        """,
        "31 are enough",
    ),
    Mutant(
        "the nearest of two times",
        "task_1",
        P95,
        """
        - times[np.argmax(share >= 0.95 - 1e-12)]
        + np.percentile(times, 95, method="nearest")
        """,
        "31 are enough",
    ),
    Mutant(
        "shares added up",
        "task_1",
        ANY_SLOW,
        """
        - 1 - (1 - share) ** n
        + n * share
        """,
        "a sum of shares",
    ),
    Mutant(
        "all slow",
        "task_1",
        ANY_SLOW,
        """
        - 1 - (1 - share) ** n
        + share**n
        """,
        "all services slow",
    ),
    Mutant(
        "none slow",
        "task_1",
        ANY_SLOW,
        """
        - 1 - (1 - share) ** n
        + (1 - share) ** n
        """,
        "no slow service",
    ),
    Mutant(
        "exactly one slow",
        "task_1",
        ANY_SLOW,
        """
        - 1 - (1 - share) ** n
        + n * share * (1 - share) ** (n - 1)
        """,
        "exactly one slow",
    ),
    # ---- task 2: fewer bits ----
    Mutant(
        "one step for all",
        "task_2",
        QUANTISE,
        """
        - np.abs(vectors).max(axis=1)
        + np.full(len(vectors), np.abs(vectors).max())
        """,
        "each row has its own",
    ),
    Mutant(
        "steps of columns",
        "task_2",
        QUANTISE,
        """
        - np.abs(vectors).max(axis=1)
        + np.abs(vectors).max(axis=0)
        """,
        "steps of the columns",
    ),
    Mutant(
        "one code too many",
        "task_2",
        QUANTISE,
        """
        - (2 ** (bits - 1) - 1)
        + 2 ** (bits - 1)
        """,
        "largest code is 7, not 8",
    ),
    Mutant(
        "a code too many on one side",
        "task_2",
        QUANTISE,
        """
        - (2 ** (bits - 1) - 1)
        + (2**bits - 1)
        """,
        "15 steps from",
    ),
    Mutant(
        "the largest, not the furthest",
        "task_2",
        QUANTISE,
        """
        - np.abs(vectors).max(axis=1)
        + vectors.max(axis=1)
        """,
        "furthest from 0 may be negative|no step to divide by",
    ),
    Mutant(
        "from the lowest to the highest",
        "task_2",
        QUANTISE,
        """
        - np.abs(vectors).max(axis=1) / (2 ** (bits - 1) - 1)
        + np.ptp(vectors, axis=1) / (2**bits - 1)
        """,
        "from the lowest to the highest",
    ),
    Mutant(
        "cut off",
        "task_2",
        QUANTISE,
        """
        - np.rint(vectors / np.where(steps > 0, steps, 1.0)[:, None])
        + np.trunc(vectors / np.where(steps > 0, steps, 1.0)[:, None])
        """,
        "cut off",
    ),
    Mutant(
        "rounded down",
        "task_2",
        QUANTISE,
        """
        - np.rint(vectors / np.where(steps > 0, steps, 1.0)[:, None])
        + np.floor(vectors / np.where(steps > 0, steps, 1.0)[:, None])
        """,
        "rounded down",
    ),
    Mutant(
        "values, not codes",
        "task_2",
        QUANTISE,
        """
        - codes.astype(int)
        + codes * steps[:, None]
        """,
        "these are the values",
    ),
    Mutant(
        "not rounded",
        "task_2",
        QUANTISE,
        """
        - np.rint(vectors / np.where(steps > 0, steps, 1.0)[:, None])
        + vectors / np.where(steps > 0, steps, 1.0)[:, None]
        - codes.astype(int)
        + codes
        """,
        "not rounded",
    ),
    Mutant(
        "divided by a step of zero",
        "task_2",
        QUANTISE,
        """
        - np.where(steps > 0, steps, 1.0)[:, None]
        + steps[:, None]
        - codes.astype(int)
        + codes
        """,
        "no step to divide by",
    ),
    Mutant(
        "given rows rounded",
        "task_2",
        QUANTISE,
        """
        -     return codes.astype(int), steps
        +     vectors[:] = codes * steps[:, None]
        +     return codes.astype(int), steps
        """,
        "changes the vectors",
    ),
    Mutant(
        "a whole step",
        "task_2",
        WORST,
        """
        - / 2
        +
        """,
        "half a step at most",
    ),
    Mutant(
        "errors of one sign",
        "task_2",
        WORST,
        """
        - np.abs(user).sum()
        + user.sum()
        """,
        "either sign",
    ),
    Mutant(
        "the absolute value of the sum",
        "task_2",
        WORST,
        """
        - np.abs(user).sum()
        + abs(user.sum())
        """,
        "sum of the absolute values",
    ),
    Mutant(
        "the length of the vector",
        "task_2",
        WORST,
        """
        - np.abs(user).sum()
        + np.linalg.norm(user)
        """,
        "too small a bound",
    ),
    Mutant(
        "one entry's error",
        "task_2",
        WORST,
        """
        - np.abs(user).sum()
        + np.abs(user).max()
        """,
        "one entry's error",
    ),
    Mutant(
        "without the user",
        "task_2",
        WORST,
        """
        - np.abs(user).sum()
        + len(user)
        """,
        "user's vector is missing",
    ),
    # ---- task 3: what a model remembers ----
    Mutant(
        "ties lost",
        "task_3",
        REMEMBERED,
        """
        - (gaps > 0).mean() + (gaps == 0).mean() / 2
        + (gaps > 0).mean()
        """,
        "count one half",
    ),
    Mutant(
        "ties won",
        "task_3",
        REMEMBERED,
        """
        - (gaps > 0).mean() + (gaps == 0).mean() / 2
        + (gaps >= 0).mean()
        """,
        "a tie counts 1",
    ),
    Mutant(
        "outside above inside",
        "task_3",
        REMEMBERED,
        """
        - (gaps > 0).mean()
        + (gaps < 0).mean()
        """,
        "turned round|expected 0.625",
    ),
    Mutant(
        "always above one half",
        "task_3",
        REMEMBERED,
        """
        -     return result
        +     return np.maximum(result, 1 - result)
        """,
        "then chance is not one half",
    ),
    Mutant(
        "all users in one pot",
        "task_3",
        REMEMBERED,
        """
        -     return result
        +     both = inside | outside
        +     every = scores[inside][:, None] - scores[outside & both]
        +     return np.full(len(scores), (every > 0).mean() + (every == 0).mean() / 2)
        """,
        "in one pot",
    ),
    Mutant(
        "against everything else",
        "task_3",
        REMEMBERED,
        """
        - row[outside[user]]
        + row[~inside[user]]
        """,
        "only the films outside|expected 0.625",
    ),
    Mutant(
        "nobody knows, so nought",
        "task_3",
        REMEMBERED,
        """
        - np.full(len(scores), np.nan)
        + np.zeros(len(scores))
        """,
        "gets 0: nan",
    ),
    Mutant(
        "nobody knows, so one half",
        "task_3",
        REMEMBERED,
        """
        - np.full(len(scores), np.nan)
        + np.full(len(scores), 0.5)
        """,
        "gets one half: nan",
    ),
    Mutant(
        "the gap of the means",
        "task_3",
        REMEMBERED,
        """
        - (gaps > 0).mean() + (gaps == 0).mean() / 2
        + gaps.mean()
        """,
        "count pairs|expected 0.625",
    ),
    Mutant(
        "unknown as nought",
        "task_3",
        SURE,
        """
        - values[~np.isnan(values)]
        + np.nan_to_num(values)
        """,
        "count 0: leave them out",
    ),
    Mutant(
        "unknown as chance",
        "task_3",
        SURE,
        """
        - values[~np.isnan(values)]
        + np.nan_to_num(values, nan=0.5)
        """,
        "count one half: leave them out",
    ),
    Mutant(
        "unknown kept",
        "task_3",
        SURE,
        """
        - values[~np.isnan(values)]
        + values
        """,
        "left out, not averaged",
    ),
    Mutant(
        "the users' own spread",
        "task_3",
        SURE,
        """
        - np.quantile(drawn.mean(axis=1), [0.025, 0.975])
        + np.quantile(drawn, [0.025, 0.975])
        """,
        "95 % of all users drawn",
    ),
    Mutant(
        "ninety per cent",
        "task_3",
        SURE,
        """
        - [0.025, 0.975]
        + [0.05, 0.95]
        """,
        "middle 90 %",
    ),
    Mutant(
        "everybody drawn once",
        "task_3",
        SURE,
        """
        - rng.choice(known, size=(n_boot, len(known)))
        + rng.permuted(np.tile(known, (n_boot, 1)), axis=1)
        """,
        "no width",
    ),
    Mutant(
        "two standard deviations",
        "task_3",
        SURE,
        """
        - *np.quantile(drawn.mean(axis=1), [0.025, 0.975])
        + *(known.mean() + np.array([-1.96, 1.96]) * known.std(ddof=1))
        """,
        "two standard deviations",
    ),
    Mutant(
        "standard errors, nothing drawn",
        "task_3",
        SURE,
        """
        -     return known.mean(), *np.quantile(drawn.mean(axis=1), [0.025, 0.975])
        +     return interval(known)
        """,
        "one draw has one mean",
    ),
    Mutant(
        "medians drawn",
        "task_3",
        SURE,
        """
        - drawn.mean(axis=1)
        + np.median(drawn, axis=1)
        """,
        "medians of the draws",
    ),
    Mutant(
        "the median",
        "task_3",
        SURE,
        """
        -     return known.mean()
        +     return np.median(known)
        """,
        "this is the median",
    ),
    Mutant(
        "dice of one's own",
        "task_3",
        SURE,
        """
        - rng.choice
        + np.random.default_rng().choice
        """,
        "the same rng gives other",
    ),
    # ---- task 4: a count that keeps a secret ----
    Mutant(
        "first come",
        "task_4",
        BOUNDED,
        """
        - rng.permutation(len(users))
        + np.arange(len(users))
        """,
        "the same three count each time",
    ),
    Mutant(
        "who has more is out",
        "task_4",
        BOUNDED,
        """
        -     return kept
        +     own = pd.Series(users).map(pd.Series(users).value_counts())
        +     return kept & (own <= most).to_numpy()
        """,
        "keep what may",
    ),
    Mutant(
        "one too many",
        "task_4",
        BOUNDED,
        """
        - place < most
        + place <= most
        """,
        "at most 3 of each user",
    ),
    Mutant(
        "most of all together",
        "task_4",
        BOUNDED,
        """
        - lot[place < most]
        + lot[:most]
        """,
        "keep what may",
    ),
    Mutant(
        "some kept twice as often",
        "task_4",
        BOUNDED,
        """
        - rng.permutation(len(users))
        + np.roll(np.arange(len(users)), rng.integers(len(users)))
        """,
        "the same chance|same three",
    ),
    Mutant(
        "numbers of ratings",
        "task_4",
        BOUNDED,
        """
        -     return kept
        +     return np.flatnonzero(kept)
        """,
        "One True or False",
    ),
    Mutant(
        "a film protected, not a person",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + 1 / epsilon
        """,
        "protects one film of a person",
    ),
    Mutant(
        "the scale turned round",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + epsilon / most
        """,
        "turned round: the smaller",
    ),
    Mutant(
        "times epsilon",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + most * epsilon
        """,
        "multiplied by epsilon",
    ),
    Mutant(
        "no epsilon",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + most
        """,
        "does not depend on epsilon",
    ),
    Mutant(
        "the root of most",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + np.sqrt(most) / epsilon
        """,
        "not to its root",
    ),
    Mutant(
        "for somebody replaced",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + 2 * most / epsilon
        """,
        "somebody who is replaced",
    ),
    Mutant(
        "all films covered",
        "task_4",
        NOISY,
        """
        - most / epsilon
        + n_items / epsilon
        """,
        "covers all films",
    ),
    Mutant(
        "normal noise",
        "task_4",
        NOISY,
        """
        - rng.laplace(scale=most / epsilon, size=n_items)
        + rng.normal(scale=most / epsilon, size=n_items)
        """,
        "normal noise",
    ),
    Mutant(
        "one noise for all",
        "task_4",
        NOISY,
        """
        - rng.laplace(scale=most / epsilon, size=n_items)
        + rng.laplace(scale=most / epsilon)
        """,
        "draw one number for each film",
    ),
    Mutant(
        "no noise where nobody was",
        "task_4",
        NOISY,
        """
        -     return counted + rng.laplace(scale=most / epsilon, size=n_items)
        +     return counted + rng.laplace(scale=most / epsilon, size=n_items) * (counted > 0)
        """,
        "no noise: then everybody sees",
    ),
    Mutant(
        "no count below nought",
        "task_4",
        NOISY,
        """
        -     return counted + rng.laplace(scale=most / epsilon, size=n_items)
        +     return np.maximum(counted + rng.laplace(scale=most / epsilon, size=n_items), 0)
        """,
        "not even around 0",
    ),
    Mutant(
        "whole numbers published",
        "task_4",
        NOISY,
        """
        -     return counted + rng.laplace(scale=most / epsilon, size=n_items)
        +     return np.rint(counted + rng.laplace(scale=most / epsilon, size=n_items))
        """,
        "counts are rounded",
    ),
    Mutant(
        "noise of one's own",
        "task_4",
        NOISY,
        """
        - rng.laplace
        + np.random.default_rng().laplace
        """,
        "the same rng gives other noise",
    ),
    Mutant(
        "the blurred share",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + np.mean(answers)
        """,
        "pulled towards one half",
    ),
    Mutant(
        "the share of no",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + (p - np.mean(answers)) / (2 * p - 1)
        """,
        "share of no",
    ),
    Mutant(
        "divided by p alone",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + np.mean(answers) / p
        """,
        "people who lie say something",
    ),
    Mutant(
        "lies not taken away",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + np.mean(answers) / (2 * p - 1)
        """,
        "lies are not taken away",
    ),
    Mutant(
        "pulled not far enough",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + (np.mean(answers) - (1 - p)) / p
        """,
        "divided by p: by 2p - 1",
    ),
    Mutant(
        "truth or a coin",
        "task_4",
        TRUE_SHARE,
        """
        - (np.mean(answers) - (1 - p)) / (2 * p - 1)
        + (np.mean(answers) - (1 - p) / 2) / p
        """,
        "tell the truth or toss a coin",
    ),
    Mutant(
        "another p",
        "task_4",
        TRUE_SHARE,
        """
        - np.exp(epsilon) / (1 + np.exp(epsilon))
        + 1 - np.exp(-epsilon)
        """,
        "not 1 - e",
    ),
    Mutant(
        "cut off at the ends",
        "task_4",
        TRUE_SHARE,
        """
        -     return (np.mean(answers) - (1 - p)) / (2 * p - 1)
        +     return np.clip((np.mean(answers) - (1 - p)) / (2 * p - 1), 0, 1)
        """,
        "cut off at 0 or 1",
    ),
    # ---- task 5: because you watched ----
    Mutant(
        "a rise",
        "task_5",
        FALL,
        """
        - score(history)[item] - score(left)[item]
        + score(left)[item] - score(history)[item]
        """,
        "this is the rise",
    ),
    Mutant(
        "a share of the score",
        "task_5",
        FALL,
        """
        - score(history)[item] - score(left)[item]
        + 1 - score(left)[item] / score(history)[item]
        """,
        "share of the score",
    ),
    Mutant(
        "everything but the reasons",
        "task_5",
        FALL,
        """
        - ~np.isin(history, reasons)
        + np.isin(history, reasons)
        """,
        "3 is what is left",
    ),
    Mutant(
        "what is left",
        "task_5",
        FALL,
        """
        - score(history)[item] - score(left)[item]
        + score(left)[item]
        """,
        "3 is what is left",
    ),
    Mutant(
        "one film at a time",
        "task_5",
        FALL,
        """
        -     return score(history)[item] - score(left)[item]
        +     alone = [score(history[history != film])[item] for film in reasons]
        +     return sum(score(history)[item] - one for one in alone)
        """,
        "one film at a time",
    ),
    Mutant(
        "the order lost",
        "task_5",
        FALL,
        """
        - history[~np.isin(history, reasons)]
        + np.setdiff1d(history, reasons)
        """,
        "setdiff1d sorts",
    ),
    Mutant(
        "one film by lot",
        "task_5",
        BY_LOT,
        """
        - size=len(reasons)
        + size=1
        """,
        "draw as many",
    ),
    Mutant(
        "reasons left out of the lot",
        "task_5",
        BY_LOT,
        """
        - rng.choice(history, size
        + rng.choice(np.setdiff1d(history, reasons), size
        """,
        "leave the reasons out",
    ),
    Mutant(
        "films of the catalogue",
        "task_5",
        BY_LOT,
        """
        - rng.choice(history, size
        + rng.choice(len(score(history)) * 2, size
        """,
        "not in the history",
    ),
    Mutant(
        "a film drawn twice",
        "task_5",
        BY_LOT,
        """
        - replace=False
        + replace=True
        """,
        "drawn twice",
    ),
    Mutant(
        "no draw by lot",
        "task_5",
        BY_LOT,
        """
        - falls.mean()
        + named
        """,
        "this is the fall for the reasons",
    ),
    Mutant(
        "a p of nought",
        "task_5",
        BY_LOT,
        """
        - (1 + (falls >= named).sum()) / (1 + n)
        + (falls >= named).mean()
        """,
        "count as one more draw",
    ),
    Mutant(
        "further only",
        "task_5",
        BY_LOT,
        """
        - falls >= named
        + falls > named
        """,
        "as far or further",
    ),
    Mutant(
        "the other share",
        "task_5",
        BY_LOT,
        """
        - falls >= named
        + falls < named
        """,
        "share of draws that fall as far",
    ),
    Mutant(
        "draws of one's own",
        "task_5",
        BY_LOT,
        """
        - rng.choice
        + np.random.default_rng().choice
        """,
        "the same rng gives other draws",
    ),
    # ---- task 6: whom it serves ----
    Mutant(
        "no one subtracted",
        "task_6",
        LIFT,
        """
        - counts[lists].mean(axis=1) / own - 1
        + counts[lists].mean(axis=1) / own
        """,
        "minus 1: a list as popular",
    ),
    Mutant(
        "a difference",
        "task_6",
        LIFT,
        """
        - counts[lists].mean(axis=1) / own - 1
        + counts[lists].mean(axis=1) - own
        """,
        "this is a difference",
    ),
    Mutant(
        "the history by the list",
        "task_6",
        LIFT,
        """
        - counts[lists].mean(axis=1) / own - 1
        + own / counts[lists].mean(axis=1) - 1
        """,
        "turned round: the list",
    ),
    Mutant(
        "sums of counts",
        "task_6",
        LIFT,
        """
        - history @ counts / history.sum(axis=1)
        + history @ counts
        - counts[lists].mean(axis=1)
        + counts[lists].sum(axis=1)
        """,
        "these are sums",
    ),
    Mutant(
        "everybody's history",
        "task_6",
        LIFT,
        """
        - history @ counts / history.sum(axis=1)
        + (history @ counts).sum() / history.sum()
        """,
        "by the user's own",
    ),
    Mutant(
        "against the catalogue",
        "task_6",
        LIFT,
        """
        - history @ counts / history.sum(axis=1)
        + counts.mean()
        """,
        "mean of the catalogue",
    ),
    Mutant(
        "a mean over the catalogue",
        "task_6",
        LIFT,
        """
        - history.sum(axis=1)
        + history.shape[1]
        """,
        "over the films watched",
    ),
    Mutant(
        "one lift for all",
        "task_6",
        LIFT,
        """
        -     return counts[lists].mean(axis=1) / own - 1
        +     return np.full(len(lists), (counts[lists].mean(axis=1) / own - 1).mean())
        """,
        "one for each user",
    ),
    Mutant(
        "plain means",
        "task_6",
        GAP,
        """
        -     return total / n_users
        +     return values[group].mean() - values[~group].mean()
        """,
        "plain means",
    ),
    Mutant(
        "the gap turned round",
        "task_6",
        GAP,
        """
        - values[here & group].mean() - values[here & ~group].mean()
        + values[here & ~group].mean() - values[here & group].mean()
        """,
        "group False minus group True",
    ),
    Mutant(
        "strata of one weight",
        "task_6",
        GAP,
        """
        - total + here.sum() * gap_here, n_users + here.sum()
        + total + gap_here, n_users + 1
        """,
        "the same weight",
    ),
    Mutant(
        "weighted by one group",
        "task_6",
        GAP,
        """
        - total + here.sum() * gap_here, n_users + here.sum()
        + total + group[here].sum() * gap_here, n_users + group[here].sum()
        """,
        "users of group True",
    ),
    Mutant(
        "nothing to compare",
        "task_6",
        GAP,
        """
        - if 0 < group[here].sum() < here.sum():
        + if True:
        """,
        "compares nothing",
    ),
    Mutant(
        "divided by everybody",
        "task_6",
        GAP,
        """
        - total / n_users
        + total / len(values)
        """,
        "counts among the users",
    ),
    Mutant(
        "dealt across strata",
        "task_6",
        P_VALUE,
        """
        -         for stratum in np.unique(strata):
        -             here = strata == stratum
        -             deal[here] = rng.permutation(group[here])
        +         deal = rng.permutation(deal)
        """,
        "dealt across strata",
    ),
    Mutant(
        "one direction",
        "task_6",
        P_VALUE,
        """
        - abs(gap(values, group, strata)), 1
        + gap(values, group, strata), 1
        - abs(gap(values, deal, strata))
        + gap(values, deal, strata)
        """,
        "in either",
    ),
    Mutant(
        "the real one left out",
        "task_6",
        P_VALUE,
        """
        - abs(gap(values, group, strata)), 1
        + abs(gap(values, group, strata)), 0
        - hits / (1 + n)
        + hits / n
        """,
        "the real labels count",
    ),
    Mutant(
        "one minus p",
        "task_6",
        P_VALUE,
        """
        - hits / (1 + n)
        + 1 - hits / (1 + n)
        """,
        "1 minus it|real labels count",
    ),
    Mutant(
        "deals of one's own",
        "task_6",
        P_VALUE,
        """
        - rng.permutation
        + np.random.default_rng().permutation
        """,
        "the same rng gives another p",
    ),
    Mutant(
        "the labels dealt for good",
        "task_6",
        P_VALUE,
        """
        - deal = group.copy()
        + deal = group
        """,
        "p_value changes|expected|the real labels count",
    ),
    Mutant(
        "further, not as far",
        "task_6",
        P_VALUE,
        """
        - >= real - 1e-9
        + > real + 1e-9
        """,
        "all values alike",
    ),
    # ---- task 7: a varied list, and its price ----
    Mutant(
        "similarities added up",
        "task_7",
        VARIED,
        """
        - np.maximum(closest, similarity[film]) if place else similarity[film]
        + closest + similarity[film]
        """,
        "added up over the chosen",
    ),
    Mutant(
        "the mean similarity",
        "task_7",
        VARIED,
        """
        - np.maximum(closest, similarity[film]) if place else similarity[film]
        + similarity[chosen].mean(axis=0)
        """,
        "mean similarity to the chosen",
    ),
    Mutant(
        "the least similar",
        "task_7",
        VARIED,
        """
        - np.maximum(
        + np.minimum(
        """,
        "least similar",
    ),
    Mutant(
        "the film before alone",
        "task_7",
        VARIED,
        """
        - np.maximum(closest, similarity[film]) if place else similarity[film]
        + similarity[film]
        """,
        "only the film before",
    ),
    Mutant(
        "t swapped",
        "task_7",
        VARIED,
        """
        - (1 - t) * scores - t * closest
        + t * scores - (1 - t) * closest
        """,
        "t is swapped",
    ),
    Mutant(
        "scores alone",
        "task_7",
        VARIED,
        """
        - (1 - t) * scores - t * closest
        + 1.0 * scores
        """,
        "these are the best scores",
    ),
    Mutant(
        "likeness rewarded",
        "task_7",
        VARIED,
        """
        - (1 - t) * scores - t * closest
        + (1 - t) * scores + t * closest
        """,
        "similarity is rewarded",
    ),
    Mutant(
        "the same film again",
        "task_7",
        VARIED,
        """
        -         worth[chosen] = -np.inf
        +         worth[chosen] += 0.0
        """,
        "stands twice|chosen twice",
    ),
    Mutant(
        "sorted by number",
        "task_7",
        VARIED,
        """
        - np.array(chosen)
        + np.sort(chosen)
        """,
        "order in which they were chosen",
    ),
    Mutant(
        "given scores marked",
        "task_7",
        VARIED,
        """
        -         worth = (1 - t) * scores - t * closest
        -         worth[chosen] = -np.inf
        +         scores[chosen] = -np.inf
        +         worth = (1 - t) * scores - t * closest
        """,
        "varied changes the scores|expected",
    ),
    Mutant(
        "the mean is small",
        "task_7",
        BOLDEST,
        """
        - losses.mean(axis=0) + 1.96 * error <= allowed
        + losses.mean(axis=0) <= allowed
        """,
        "its interval ends above it",
    ),
    Mutant(
        "not significant",
        "task_7",
        BOLDEST,
        """
        - losses.mean(axis=0) + 1.96 * error <= allowed
        + losses.mean(axis=0) - 1.96 * error <= 0
        """,
        "far more than is allowed",
    ),
    Mutant(
        "the lower end",
        "task_7",
        BOLDEST,
        """
        - losses.mean(axis=0) + 1.96 * error <= allowed
        + losses.mean(axis=0) - 1.96 * error <= allowed
        """,
        "its upper end is not",
    ),
    Mutant(
        "the spread of users",
        "task_7",
        BOLDEST,
        """
        -  / np.sqrt(len(losses))
        + 
        """,
        "root of the number of users",
    ),
    Mutant(
        "the largest of all",
        "task_7",
        BOLDEST,
        """
        -     return max(np.asarray(ts)[shown], default=0)
        +     return max(ts)
        """,
        "the largest t of all",
    ),
    Mutant(
        "the smallest shown",
        "task_7",
        BOLDEST,
        """
        - max(np.asarray(ts)[shown], default=0)
        + min(np.asarray(ts)[shown], default=0)
        """,
        "0.3 is shown",
    ),
    Mutant(
        "its place",
        "task_7",
        BOLDEST,
        """
        -     return max(np.asarray(ts)[shown], default=0)
        +     return int(np.argmax(np.where(shown, ts, -1)))
        """,
        "none of the ts",
    ),
    Mutant(
        "stopped at the first that is not shown",
        "task_7",
        BOLDEST,
        """
        -     return max(np.asarray(ts)[shown], default=0)
        +     order = np.argsort(ts)
        +     return max(np.asarray(ts)[order][np.minimum.accumulate(shown[order])], default=0)
        """,
        "whether or not a smaller one",
    ),
    # ---- task 8: the audit ----
    Mutant(
        "a leak against the never watched",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, test, secret)
        + auc_of(scores, test, ~(train | test | secret))
        """,
        "that is taste, not a leak",
    ),
    Mutant(
        "a leak turned round",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, test, secret)
        + auc_of(scores, secret, test)
        """,
        "test inside, secret outside",
    ),
    Mutant(
        "a leak against train",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, test, secret)
        + auc_of(scores, test, train)
        """,
        "hides a leak",
    ),
    Mutant(
        "train against test",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, test, secret)
        + auc_of(scores, train, test)
        """,
        "nothing shows",
    ),
    Mutant(
        "a leak against all",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, test, secret)
        + auc_of(scores, test, ~test)
        """,
        "all but test",
    ),
    Mutant(
        "memory against test",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, train, secret)
        + auc_of(scores, train, test)
        """,
        "hides its memory",
    ),
    Mutant(
        "memory against the never watched",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, train, secret)
        + auc_of(scores, train, ~(train | test | secret))
        """,
        "that is taste, not memory",
    ),
    Mutant(
        "memory against all",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, train, secret)
        + auc_of(scores, train, ~train)
        """,
        "all but train",
    ),
    Mutant(
        "memory against both",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, train, secret)
        + auc_of(scores, train, test | secret)
        """,
        "test and secret are outside",
    ),
    Mutant(
        "memory of the test",
        "task_8",
        FINDINGS,
        """
        - auc_of(scores, train, secret)
        + auc_of(scores, test, secret) + 0
        """,
        "memory of train",
    ),
    Mutant(
        "hits as repeats",
        "task_8",
        FINDINGS,
        """
        - np.take_along_axis(train, lists, axis=1).mean(axis=1)
        + np.take_along_axis(train | test | secret, lists, axis=1).mean(axis=1)
        """,
        "they are hits",
    ),
    Mutant(
        "a share of the history",
        "task_8",
        FINDINGS,
        """
        - np.take_along_axis(train, lists, axis=1).mean(axis=1)
        + np.take_along_axis(train, lists, axis=1).sum(axis=1) / train.sum(axis=1)
        """,
        "share of the history",
    ),
    Mutant(
        "a number of films",
        "task_8",
        FINDINGS,
        """
        - np.take_along_axis(train, lists, axis=1).mean(axis=1)
        + np.take_along_axis(train, lists, axis=1).sum(axis=1)
        """,
        "a number of films",
    ),
    Mutant(
        "new films",
        "task_8",
        FINDINGS,
        """
        - np.take_along_axis(train, lists, axis=1).mean(axis=1)
        + 1 - np.take_along_axis(train, lists, axis=1).mean(axis=1)
        """,
        "share of new films",
    ),
    Mutant(
        "a history of all films",
        "task_8",
        FINDINGS,
        """
        - lift_of(lists, train, train.sum(axis=0))
        + lift_of(lists, train | test | secret, train.sum(axis=0))
        """,
        "the history is that of the training",
    ),
    Mutant(
        "counts of all films",
        "task_8",
        FINDINGS,
        """
        - lift_of(lists, train, train.sum(axis=0))
        + lift_of(lists, train, (train | test | secret).sum(axis=0))
        """,
        "the counts are those",
    ),
    Mutant(
        "any upper end accuses",
        "task_8",
        JUDGED,
        """
        - low > limit
        + high > limit
        """,
        "lies on both sides",
    ),
    Mutant(
        "the middle decides",
        "task_8",
        JUDGED,
        """
        -     if high <= limit:
        +     if (low + high) / 2 <= limit:
        """,
        "lies on both sides",
    ),
    Mutant(
        "kept by its lower end",
        "task_8",
        JUDGED,
        """
        -     if high <= limit:
        +     if low <= limit:
        """,
        "lies on both sides",
    ),
    Mutant(
        "the limit itself is a breach",
        "task_8",
        JUDGED,
        """
        -     if high <= limit:
        +     if high < limit:
        """,
        "at or below the limit",
    ),
    Mutant(
        "accused at the limit",
        "task_8",
        JUDGED,
        """
        - low > limit
        + low >= limit
        """,
        "not above it, so open",
    ),
    Mutant(
        "the leader acquitted",
        "task_8",
        REPORT,
        """
        -     return {"amber": "none"} | found
        +     return {"amber": "none"} | found | {"opal": "none"}
        """,
        "you say none, but one of its four lines",
    ),
    Mutant(
        "the honest one accused",
        "task_8",
        REPORT,
        """
        - {"amber": "none"}
        + {"amber": "memory"}
        """,
        "you accuse it of memory",
    ),
    Mutant(
        "two stones swapped",
        "task_8",
        REPORT,
        """
        - "coral": "memory", "garnet": "crowd"
        + "coral": "crowd", "garnet": "memory"
        """,
        "you accuse it",
    ),
    Mutant(
        "everybody honest",
        "task_8",
        REPORT,
        """
        -     return {"amber": "none"} | found
        +     return dict.fromkeys(["amber", *found], "none")
        """,
        "you say none",
    ),
]

# Right answers in another style: they lose nothing.
ALTERNATIVES = {
    REQUEST: """
def request(n_users, n_items, d, n_bytes):
    users, items = n_users * d, n_items * d
    return [n_bytes * (users + items), n_bytes * (d + items), items + items]
""",
    P95: """
def p95(servers):
    times = sorted(time for server in servers for time in server)
    return times[-(-95 * len(times) // 100) - 1]
""",
    ANY_SLOW: """
def any_slow(share, n):
    quick = 1
    for _ in range(n):
        quick *= 1 - share
    return float(1 - quick)
""",
    QUANTISE: """
def quantise(vectors, bits):
    top = 2 ** (bits - 1) - 1
    codes, steps = np.zeros(vectors.shape), np.zeros(len(vectors))
    for row, vector in enumerate(vectors):
        if vector.any():
            steps[row] = max(vector.max(), -vector.min()) / top
            codes[row] = np.round(vector / steps[row])
    return codes, steps
""",
    WORST: """
def worst_error(user, steps):
    return [sum(abs(entry) * step / 2 for entry in user) for step in steps]
""",
    REMEMBERED: """
def remembered(scores, inside, outside):
    found = []
    for row, ins, outs in zip(scores, inside, outside):
        n, m = ins.sum(), outs.sum()
        if n == 0 or m == 0:
            found.append(np.nan)
            continue
        places = rankdata(np.append(row[ins], row[outs]))
        found.append((places[:n].sum() - n * (n + 1) / 2) / (n * m))
    return found
""",
    SURE: """
def sure(values, n_boot, rng):
    known = pd.Series(values).dropna().to_numpy()
    means = [known[rng.integers(len(known), size=len(known))].mean() for _ in range(n_boot)]
    return np.array([np.nanmean(values), np.percentile(means, 2.5), np.percentile(means, 97.5)])
""",
    BOUNDED: """
def bounded(users, most, rng):
    kept = np.full(len(users), False)
    for user in np.unique(users):
        own = np.flatnonzero(users == user)
        kept[rng.choice(own, size=min(most, len(own)), replace=False)] = True
    return kept
""",
    NOISY: """
def noisy(items, n_items, most, epsilon, rng):
    counted = np.zeros(n_items)
    np.add.at(counted, items, 1)
    first, second = rng.exponential(most / epsilon, size=(2, n_items))
    return counted + first - second
""",
    TRUE_SHARE: """
def true_share(answers, epsilon):
    lie = 1 / (1 + np.exp(epsilon))
    yes, no = sum(answers) / len(answers), 1 - sum(answers) / len(answers)
    return (yes * (1 - lie) - no * lie) / (1 - 2 * lie)
""",
    FALL: """
def fall(score, history, item, reasons):
    out = set(np.asarray(reasons).tolist())
    left = np.array([film for film in history.tolist() if film not in out], dtype=int)
    return float(score(history)[item] - score(left)[item])
""",
    BY_LOT: """
def against_lot(score, history, item, reasons, n, rng):
    named, total, hits = fall(score, history, item, reasons), 0.0, 1
    for _ in range(n):
        one = fall(score, history, item, rng.permutation(history)[: len(reasons)])
        total += one
        hits += one > named - 1e-12
    return [named, total / n, hits / (n + 1)]
""",
    LIFT: """
def lift(lists, history, counts):
    found = []
    for films, row in zip(lists, history):
        found.append(counts[films].mean() / counts[row].mean() - 1)
    return found
""",
    GAP: """
def gap(values, group, strata):
    table = pd.DataFrame({"v": values, "g": group, "s": strata})
    found, weights = [], []
    for _, part in table.groupby("s"):
        if part["g"].nunique() == 2:
            found.append(part.loc[part["g"], "v"].mean() - part.loc[~part["g"], "v"].mean())
            weights.append(len(part))
    return np.average(found, weights=weights)
""",
    P_VALUE: """
def p_value(values, group, strata, n, rng):
    order = np.argsort(strata, kind="stable")
    gaps = []
    for _ in range(n):
        lot = np.lexsort((rng.random(len(strata)), strata))
        deal = np.empty(len(group), dtype=bool)
        deal[lot] = group[order]
        gaps.append(gap(values, deal, strata))
    far = np.abs(np.array([gap(values, group, strata), *gaps])).round(9)
    return np.mean(far >= far[0])
""",
    VARIED: """
def varied(scores, similarity, k, t):
    left, chosen = list(range(len(scores))), []
    while len(chosen) < k:
        def worth(film):
            near = max((similarity[film][one] for one in chosen), default=0)
            return (1 - t) * scores[film] - t * near

        chosen.append(max(left, key=worth))
        left.remove(chosen[-1])
    return chosen
""",
    BOLDEST: """
def boldest(losses, ts, allowed):
    right = 0
    for t, loss in sorted(zip(ts, losses.T), key=lambda pair: pair[0]):
        if interval(loss)[2] <= allowed:
            right = t
    return right
""",
    FINDINGS: """
def findings(lists, scores, train, test, secret):
    repeats = [train[user, row].sum() / len(row) for user, row in enumerate(lists)]
    found = {"repeats": repeats, "crowd": lift_of(lists, train, np.count_nonzero(train, axis=0))}
    for clause, inside in (("leak", test), ("memory", train)):
        found[clause] = auc_of(scores, inside, secret)
    return found
""",
    JUDGED: """
def judged(low, high, limit):
    if low > limit:
        return "breached"
    return "open" if high > limit else "kept"
""",
    REPORT: """
def report():
    words = {}
    for stone, model in sealed.items():
        found = findings(*shown_by(model))
        broken = [c for c in CONTRACT if judged(*ends_of(found[c]), CONTRACT[c]) == "breached"]
        words[stone] = broken[0] if broken else "none"
    return words
""",
}
