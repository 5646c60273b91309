"""Plausible wrong answers to lab 5. Each loses points in its own task, and in no other."""

from mutants.in_process import Mutant

# Wrong answers that nbgrader grades too.
CONFIRMED = ("ratings dealt, not people", "one cache for all")

DEAL, QUESTIONS, MAY_COUNT = "answer_deal", "answer_questions", "answer_may_count"
SHARE, AUC, WITHIN, INTERVAL = "answer_share", "answer_auc", "answer_within", "answer_interval"
START, CORRECTED, MERGED = "answer_start", "answer_corrected", "answer_merged"
LOG_ODDS, ASK, PLACES = "answer_log_odds", "answer_ask_after", "answer_places"
LOSS, TUNE = "answer_answer_loss", "answer_tune"
STACK, DIFFERENCE, VERDICTS = "answer_stack", "answer_difference", "answer_verdicts"
QUOTED, ALLOWED = "answer_quoted", "answer_allowed"

MUTANTS = [
    # ---- task 1: questions whose answers are known ----
    Mutant(
        "ratings dealt, not people",
        "task_1",
        DEAL,
        """
        - people = rng.permutation(np.unique(users))
        + people = rng.permutation(users)
        """,
        "both sides",
    ),
    Mutant(
        "the first people",
        "task_1",
        DEAL,
        """
        - rng.permutation(np.unique(users))
        + np.unique(users)
        """,
        "same people are drawn",
    ),
    Mutant(
        "the active are likelier",
        "task_1",
        DEAL,
        """
        - people = rng.permutation(np.unique(users))
        + people = np.array(list(dict.fromkeys(rng.permutation(users).tolist())))
        """,
        "only one of the people",
    ),
    Mutant(
        "the test stays in training",
        "task_1",
        DEAL,
        """
        - people[n_test:], people[:n_test]
        + people, people[:n_test]
        """,
        "both sides",
    ),
    Mutant(
        "drawn with replacement",
        "task_1",
        DEAL,
        """
        - return people[n_test:], people[:n_test]
        + test = rng.choice(people, n_test)
        +     return np.setdiff1d(people, test), test
        """,
        "twice in one group",
    ),
    Mutant(
        "a draw without rng",
        "task_1",
        DEAL,
        """
        - rng.permutation(np.unique(users))
        + np.random.permutation(np.unique(users))
        """,
        "draw with rng",
    ),
    Mutant(
        "the history of both halves",
        "task_1",
        QUESTIONS,
        """
        - items[:half][ratings[:half] >= 4]
        + items[ratings >= 4]
        """,
        "films of the second half",
    ),
    Mutant(
        "a history of everything",
        "task_1",
        QUESTIONS,
        """
        - items[:half][ratings[:half] >= 4]
        + items[:half]
        """,
        "not liked",
    ),
    Mutant(
        "the newest first",
        "task_1",
        QUESTIONS,
        """
        - items[:half][ratings[:half] >= 4], *drawn
        + items[:half][ratings[:half] >= 4][::-1], *drawn
        """,
        "in reverse",
    ),
    Mutant(
        "the larger half first",
        "task_1",
        QUESTIONS,
        """
        - half = len(items) // 2
        + half = (len(items) + 1) // 2
        """,
        "five ratings",
    ),
    Mutant(
        "four stars as a dislike",
        "task_1",
        QUESTIONS,
        """
        - ratings[half:] >= 4
        + ratings[half:] > 4
        """,
        "wrong answer|n is 2",
    ),
    Mutant(
        "unbalanced questions",
        "task_1",
        QUESTIONS,
        """
        - n = min(n, good.sum(), (~good).sum())
        +
        - drawn = [rng.choice(late[kind], size=n, replace=False) for kind in (good, ~good)]
        + drawn = [rng.permutation(late[kind])[:n] for kind in (good, ~good)]
        """,
        "as many of one kind",
    ),
    Mutant(
        "the first questions",
        "task_1",
        QUESTIONS,
        """
        - rng.choice(late[kind], size=n, replace=False)
        + late[kind][:n]
        """,
        "both kinds by chance",
    ),
    Mutant(
        "questions drawn with replacement",
        "task_1",
        QUESTIONS,
        """
        - rng.choice(late[kind], size=n, replace=False)
        + rng.choice(late[kind], size=n)
        """,
        "without replacement",
    ),
    Mutant(
        "people of the test counted",
        "task_1",
        MAY_COUNT,
        """
        - np.isin(users, training) & ~np.array(is_asked)
        + ~np.array(is_asked)
        """,
        "people of the test are counted",
    ),
    Mutant(
        "answers counted",
        "task_1",
        MAY_COUNT,
        """
        - np.isin(users, training) & ~np.array(is_asked)
        + np.isin(users, training)
        """,
        "give the answer away",
    ),
    Mutant(
        "the film left out for all",
        "task_1",
        MAY_COUNT,
        """
        - ~np.array(is_asked)
        + ~np.isin(items, np.asarray(asked)[:, 1])
        """,
        "left out for everybody",
    ),
    Mutant(
        "the person left out",
        "task_1",
        MAY_COUNT,
        """
        - ~np.array(is_asked)
        + ~np.isin(users, np.asarray(asked)[:, 0])
        """,
        "left out altogether",
    ),
    Mutant(
        "user and film apart",
        "task_1",
        MAY_COUNT,
        """
        - ~np.array(is_asked)
        + ~(np.isin(users, np.asarray(asked)[:, 0]) & np.isin(items, np.asarray(asked)[:, 1]))
        """,
        "each by itself",
    ),
    # ---- task 2: the rival that cannot read ----
    Mutant(
        "towards one half",
        "task_2",
        SHARE,
        """
        - damping * liked.mean()
        + damping / 2
        """,
        "towards one half",
    ),
    Mutant(
        "the mean over films",
        "task_2",
        SHARE,
        """
        - return (likes + damping * liked.mean()) / (n + damping)
        + prior = (likes[n > 0] / n[n > 0]).mean()
        +     return (likes + damping * prior) / (n + damping)
        """,
        "mean over films",
    ),
    Mutant(
        "numbers of likes",
        "task_2",
        SHARE,
        """
        - (likes + damping * liked.mean()) / (n + damping)
        + likes
        """,
        "divide by the raters",
    ),
    Mutant(
        "damping below only",
        "task_2",
        SHARE,
        """
        - (likes + damping * liked.mean())
        + likes
        """,
        "stands below only",
    ),
    Mutant(
        "no damping",
        "task_2",
        SHARE,
        """
        - (likes + damping * liked.mean()) / (n + damping)
        + np.where(n > 0, likes / np.maximum(n, 1), liked.mean())
        """,
        "damping has no effect",
    ),
    Mutant(
        "a tie as a win",
        "task_2",
        AUC,
        """
        - above = np.sign(scores[answers][:, None] - scores[~answers])
        + above = np.where(scores[answers][:, None] >= scores[~answers], 1, -1)
        """,
        "counts as a win",
    ),
    Mutant(
        "a tie as a defeat",
        "task_2",
        AUC,
        """
        - above = np.sign(scores[answers][:, None] - scores[~answers])
        + above = np.where(scores[answers][:, None] > scores[~answers], 1, -1)
        """,
        "counts as a defeat",
    ),
    Mutant(
        "ties left out",
        "task_2",
        AUC,
        """
        - return (above.mean() + 1) / 2
        + return (above[above != 0].mean() + 1) / 2 if above.any() else 0.5
        """,
        "ties are left out",
    ),
    Mutant(
        "turned round",
        "task_2",
        AUC,
        """
        - (above.mean() + 1) / 2
        + (1 - above.mean()) / 2
        """,
        "wrong order",
    ),
    Mutant(
        "pairs side by side",
        "task_2",
        AUC,
        """
        - scores[answers][:, None] - scores[~answers]
        + scores[answers][: (~answers).sum()] - scores[~answers][: answers.sum()]
        """,
        "one disliked film",
    ),
    Mutant(
        "pooled, not within",
        "task_2",
        WITHIN,
        """
        - auc(scores[rows], answers[rows]) for rows in mine
        + auc(scores, answers) for rows in mine
        """,
        "pooled AUC",
    ),
    Mutant(
        "an average already",
        "task_2",
        WITHIN,
        """
        - return np.array([auc(scores[rows], answers[rows]) for rows in mine])
        + return np.mean([auc(scores[rows], answers[rows]) for rows in mine])
        """,
        "no average yet",
    ),
    Mutant(
        "people as they come",
        "task_2",
        WITHIN,
        """
        - for one in np.unique(users)]
        + for one in dict.fromkeys(users.tolist())]
        """,
        "order in which they occur",
    ),
    Mutant(
        "everybody's disliked films",
        "task_2",
        WITHIN,
        """
        - auc(scores[rows], answers[rows]) for rows in mine
        + auc(scores[rows | ~answers], answers[rows | ~answers]) for rows in mine
        """,
        "everybody's disliked",
    ),
    Mutant(
        "rows drawn",
        "task_2",
        INTERVAL,
        """
        - drawn = np.concatenate([rows[j] for j in rng.integers(len(rows), size=len(rows))])
        + drawn = rng.integers(len(users), size=len(users))
        """,
        "questions are drawn",
    ),
    Mutant(
        "a person drawn twice comes once",
        "task_2",
        INTERVAL,
        """
        - rng.integers(len(rows), size=len(rows))
        + np.unique(rng.integers(len(rows), size=len(rows)))
        """,
        "rows once",
    ),
    Mutant(
        "the middle 90 percent",
        "task_2",
        INTERVAL,
        """
        - [0.025, 0.975]
        + [0.05, 0.95]
        """,
        "middle 90|too narrow",
    ),
    Mutant(
        "a permutation",
        "task_2",
        INTERVAL,
        """
        - rng.integers(len(rows), size=len(rows))
        + rng.permutation(len(rows))
        """,
        "with replacement",
    ),
    Mutant(
        "averages of AUCs within",
        "task_2",
        INTERVAL,
        """
        - drawn = np.concatenate([rows[j] for j in rng.integers(len(rows), size=len(rows))])
        + drawn = [rows[j] for j in rng.integers(len(rows), size=len(rows))]
        - found.append(auc(scores[drawn], answers[drawn]))
        + found.append(np.mean([auc(scores[one], answers[one]) for one in drawn]))
        """,
        "averages of AUCs within",
    ),
    # ---- task 3: LoRA from nothing ----
    Mutant(
        "both at zero",
        "task_3",
        START,
        """
        - base.weight.new_empty(rank, d_in).normal_(std=d_in**-0.5)
        + base.weight.new_zeros(rank, d_in)
        """,
        "for ever",
    ),
    Mutant(
        "A at zero",
        "task_3",
        START,
        """
        - A = base.weight.new_empty(rank, d_in).normal_(std=d_in**-0.5)
        + A = base.weight.new_zeros(rank, d_in)
        - base.weight.new_zeros(d_out, rank)
        + base.weight.new_empty(d_out, rank).normal_()
        """,
        "A starts at random",
    ),
    Mutant(
        "both at random",
        "task_3",
        START,
        """
        - base.weight.new_zeros(d_out, rank)
        + base.weight.new_empty(d_out, rank).normal_()
        """,
        "before it has learnt",
    ),
    Mutant(
        "base not frozen",
        "task_3",
        START,
        """
        - base.requires_grad_(False)
        +
        """,
        "freeze base",
    ),
    Mutant(
        "the bias not frozen",
        "task_3",
        START,
        """
        - base.requires_grad_(False)
        + base.weight.requires_grad_(False)
        """,
        "freeze all of base",
    ),
    Mutant(
        "shapes exchanged",
        "task_3",
        START,
        """
        - d_out, d_in = base.weight.shape
        + d_in, d_out = base.weight.shape
        """,
        "weight.shape is",
    ),
    Mutant(
        "plain tensors",
        "task_3",
        START,
        """
        - return nn.Parameter(A), nn.Parameter(
        + return A, (
        """,
        "no nn.Parameter",
    ),
    Mutant(
        "no factor",
        "task_3",
        CORRECTED,
        """
        - alpha / A.shape[0] * (
        + (
        """,
        "factor alpha / r is missing",
    ),
    Mutant(
        "alpha not divided",
        "task_3",
        CORRECTED,
        """
        - alpha / A.shape[0]
        + alpha
        """,
        "not divided by the rank",
    ),
    Mutant(
        "rank over alpha",
        "task_3",
        CORRECTED,
        """
        - alpha / A.shape[0]
        + A.shape[0] / alpha
        """,
        "turned round",
    ),
    Mutant(
        "the correction alone",
        "task_3",
        CORRECTED,
        """
        - base(x) + alpha
        + alpha
        """,
        "correction alone",
    ),
    Mutant(
        "no bias",
        "task_3",
        CORRECTED,
        """
        - base(x) + alpha
        + x @ base.weight.T + alpha
        """,
        "bias is missing",
    ),
    Mutant(
        "by the root of the rank",
        "task_3",
        CORRECTED,
        """
        - A.shape[0]
        + A.shape[0] ** 0.5
        """,
        "root of the rank",
    ),
    Mutant(
        "merged in place",
        "task_3",
        MERGED,
        """
        - layer = deepcopy(base)
        + layer = base
        """,
        "base is changed",
    ),
    Mutant(
        "merged without the factor",
        "task_3",
        MERGED,
        """
        - alpha / len(A) * B @ A
        + B @ A
        """,
        "factor alpha / r is missing",
    ),
    Mutant(
        "merged without bias",
        "task_3",
        MERGED,
        """
        - return layer
        + layer.bias = None
        +     return layer
        """,
        "bias is lost",
    ),
    Mutant(
        "the correction in W's place",
        "task_3",
        MERGED,
        """
        - layer.weight += alpha
        + layer.weight[:] = alpha
        """,
        "add it to what base gives|row, output",
    ),
    Mutant(
        "the bias corrected too",
        "task_3",
        MERGED,
        """
        - layer.weight += alpha / len(A) * B @ A
        + layer.weight += alpha / len(A) * B @ A
        +         if layer.bias is not None:
        +             layer.bias *= 1 + len(A)
        """,
        "bias is corrected too",
    ),
    # ---- task 4: yes or no, many questions after one prompt ----
    Mutant(
        "a difference of probabilities",
        "task_4",
        LOG_ODDS,
        """
        - logits[..., yes] - logits[..., no]
        + logits.softmax(-1)[..., yes] - logits.softmax(-1)[..., no]
        """,
        "difference of two probabilities",
    ),
    Mutant(
        "a probability among two",
        "task_4",
        LOG_ODDS,
        """
        - logits[..., yes] - logits[..., no]
        + (logits[..., yes] - logits[..., no]).sigmoid()
        """,
        "among the two",
    ),
    Mutant(
        "yes alone",
        "task_4",
        LOG_ODDS,
        """
        - logits[..., yes] - logits[..., no]
        + logits[..., yes]
        """,
        "logit of yes alone",
    ),
    Mutant(
        "no against yes",
        "task_4",
        LOG_ODDS,
        """
        - logits[..., yes] - logits[..., no]
        + logits[..., no] - logits[..., yes]
        """,
        "no against yes",
    ),
    Mutant(
        "a softmax that overflows",
        "task_4",
        LOG_ODDS,
        """
        - logits[..., yes] - logits[..., no]
        + (logits.exp()[..., yes] / logits.exp()[..., no]).log()
        """,
        "large",
    ),
    Mutant(
        "one cache for all",
        "task_4",
        ASK,
        """
        - cache = deepcopy(read)  # the model writes into it
        + cache = read
        """,
        "reads the ones before",
    ),
    Mutant(
        "no cache handed over",
        "task_4",
        ASK,
        """
        - torch.tensor([question]), past_key_values=cache, use_cache=True
        + torch.tensor([question]), use_cache=True
        """,
        "without the prompt",
    ),
    Mutant(
        "the prompt each time",
        "task_4",
        ASK,
        """
        - torch.tensor([question]), past_key_values=cache, use_cache=True
        + torch.tensor([prompt + question])
        """,
        "tokens were read",
    ),
    Mutant(
        "the first token's logits",
        "task_4",
        ASK,
        """
        - logits[0, -1, yes] - logits[0, -1, no]
        + logits[0, 0, yes] - logits[0, 0, no]
        """,
        "first token of a question",
    ),
    Mutant(
        "the last token not read",
        "task_4",
        ASK,
        """
        - torch.tensor([question])
        + torch.tensor([question[:-1]])
        """,
        "last token is not read",
    ),
    Mutant(
        "an ordinary causal mask",
        "task_4",
        PLACES,
        """
        - np.tril((part == 0) | (part[:, None] == part))
        + np.tril(np.ones((len(part), len(part)), dtype=bool))
        """,
        "sees the questions before",
    ),
    Mutant(
        "a mask that looks ahead",
        "task_4",
        PLACES,
        """
        - np.tril((part == 0) | (part[:, None] == part))
        + (part == 0) | (part[:, None] == part)
        """,
        "comes after it",
    ),
    Mutant(
        "blind to the prompt",
        "task_4",
        PLACES,
        """
        - np.tril((part == 0) | (part[:, None] == part))
        + np.tril(part[:, None] == part)
        """,
        "does not see the prompt",
    ),
    Mutant(
        "positions run on",
        "task_4",
        PLACES,
        """
        - within + np.where(part > 0, lengths[0], 0)
        + np.arange(len(part))
        """,
        "run on through all",
    ),
    Mutant(
        "positions from zero",
        "task_4",
        PLACES,
        """
        - within + np.where(part > 0, lengths[0], 0)
        + within
        """,
        "start at 0",
    ),
    # ---- task 5: learn the answers, and stop in time ----
    Mutant(
        "no shift",
        "task_5",
        LOSS,
        """
        - logits[:, :-1].log_softmax(dim=-1)
        + logits.log_softmax(dim=-1)
        - tokens[:, 1:, None]
        + tokens[:, :, None]
        - is_answer[:, 1:]
        + is_answer
        """,
        "its own place",
    ),
    Mutant(
        "all tokens charged",
        "task_5",
        LOSS,
        """
        - of_next[is_answer[:, 1:]].mean()
        + of_next.mean()
        """,
        "titles too",
    ),
    Mutant(
        "rows averaged first",
        "task_5",
        LOSS,
        """
        - -of_next[is_answer[:, 1:]].mean()
        + -((of_next * is_answer[:, 1:]).sum(1) / is_answer[:, 1:].sum(1)).mean()
        """,
        "two rows' means",
    ),
    Mutant(
        "marks not shifted",
        "task_5",
        LOSS,
        """
        - is_answer[:, 1:]
        + is_answer[:, :-1]
        """,
        "one place off",
    ),
    Mutant(
        "a loss without slopes",
        "task_5",
        LOSS,
        """
        - logits[:, :-1].log_softmax
        + logits.detach()[:, :-1].log_softmax
        """,
        "does not require grad",
    ),
    Mutant(
        "old gradients kept",
        "task_5",
        TUNE,
        """
        - optimizer.zero_grad()
        +
        """,
        "set them to zero",
    ),
    Mutant(
        "the last weights",
        "task_5",
        TUNE,
        """
        - parameter.copy_(kept)
        + pass
        """,
        "last weights are kept",
    ),
    Mutant(
        "best not copied",
        "task_5",
        TUNE,
        """
        - [parameter.detach().clone() for parameter in parameters]
        + list(parameters)
        """,
        "were they copied",
    ),
    Mutant(
        "the highest value",
        "task_5",
        TUNE,
        """
        - values[-1] < min(values[:-1], default=np.inf)
        + values[-1] > max(values[:-1], default=-np.inf)
        """,
        "lower is better",
    ),
    Mutant(
        "never asked before",
        "task_5",
        TUNE,
        """
        - values.append(validate())
        + if not epoch:
        +             best = [parameter.detach().clone() for parameter in parameters]
        +             continue
        +         values.append(validate())
        """,
        "not asked before training",
    ),
    Mutant(
        "before training not kept",
        "task_5",
        TUNE,
        """
        - values[-1] < min(values[:-1], default=np.inf)
        + epoch == 0 or values[-1] < min(values[1:-1], default=np.inf)
        """,
        "before training are the best",
    ),
    Mutant(
        "better than the one before",
        "task_5",
        TUNE,
        """
        - values[-1] < min(values[:-1], default=np.inf)
        + values[-1] < min(values[-2:-1], default=np.inf)
        """,
        "earlier weights",
    ),
    Mutant(
        "the latest of equals",
        "task_5",
        TUNE,
        """
        - values[-1] < min(values[:-1], default=np.inf)
        + values[-1] <= min(values[:-1], default=np.inf)
        """,
        "earlier weights",
    ),
    # ---- task 6: beat the count ----
    Mutant(
        "tuned people fitted",
        "task_6",
        STACK,
        """
        - fresh = ~np.isin(users, tuned)
        + fresh = np.full(len(users), True)
        """,
        "seen their answers",
    ),
    Mutant(
        "tuned people alone fitted",
        "task_6",
        STACK,
        """
        - ~np.isin(users, tuned)
        + np.isin(users, tuned)
        """,
        "ones to leave out|one class|single|samples of at least",
    ),
    Mutant(
        "new rows by their own mean",
        "task_6",
        STACK,
        """
        - (new - mean) / spread
        + (new - new.mean(axis=0)) / new.std(axis=0)
        """,
        "their own mean",
    ),
    Mutant(
        "not standardised",
        "task_6",
        STACK,
        """
        - mean, spread = known.mean(axis=0), known.std(axis=0)
        + mean, spread = 0.0, 1.0
        """,
        "not standardised",
    ),
    Mutant(
        "the mean of all training rows",
        "task_6",
        STACK,
        """
        - mean, spread = known.mean(axis=0), known.std(axis=0)
        + mean, spread = scores.mean(axis=0), scores.std(axis=0)
        """,
        "those of all training rows",
    ),
    Mutant(
        "new rows raw",
        "task_6",
        STACK,
        """
        - model.decision_function((new - mean) / spread)
        + model.decision_function(new)
        """,
        "new rows are not standardised",
    ),
    Mutant(
        "probabilities",
        "task_6",
        STACK,
        """
        - model.decision_function((new - mean) / spread)
        + model.predict_proba((new - mean) / spread)[:, 1]
        """,
        "these are probabilities",
    ),
    Mutant(
        "classes",
        "task_6",
        STACK,
        """
        - model.decision_function((new - mean) / spread)
        + model.predict((new - mean) / spread)
        """,
        "these are classes",
    ),
    Mutant(
        "a draw for each score",
        "task_6",
        DIFFERENCE,
        """
        - gaps.append(gap(np.concatenate([by_person[j] for j in chosen])))
        + pair = []
        +         for one in (first, second):
        +             chosen = rng.integers(len(by_person), size=len(by_person))
        +             rows = np.concatenate([by_person[j] for j in chosen])
        +             pair.append(ranked_auc(one[rows], answers[rows]))
        +         gaps.append(pair[0] - pair[1])
        """,
        "draws of its own",
    ),
    Mutant(
        "questions drawn",
        "task_6",
        DIFFERENCE,
        """
        - gaps.append(gap(np.concatenate([by_person[j] for j in chosen])))
        + gaps.append(gap(rng.integers(len(users), size=len(users))))
        """,
        "questions are drawn",
    ),
    Mutant(
        "second minus first",
        "task_6",
        DIFFERENCE,
        """
        - ranked_auc(first[rows], answers[rows]) - ranked_auc(second[rows], answers[rows])
        + ranked_auc(second[rows], answers[rows]) - ranked_auc(first[rows], answers[rows])
        """,
        "second minus first",
    ),
    Mutant(
        "the ends of two intervals",
        "task_6",
        DIFFERENCE,
        """
        - gaps.append(gap(np.concatenate([by_person[j] for j in chosen])))
        + rows = np.concatenate([by_person[j] for j in chosen])
        +         gaps.append([ranked_auc(one[rows], answers[rows]) for one in (first, second)])
        - *np.quantile(gaps, [0.025, 0.975])
        + *(np.quantile(gaps, [0.025, 0.975], axis=0) @ [1, -1])
        """,
        "differences of the ends",
    ),
    Mutant(
        "the interval of the first",
        "task_6",
        DIFFERENCE,
        """
        - gaps.append(gap(np.concatenate([by_person[j] for j in chosen])))
        + rows = np.concatenate([by_person[j] for j in chosen])
        +         gaps.append(ranked_auc(first[rows], answers[rows]))
        """,
        "first score alone",
    ),
    Mutant(
        "ninety percent",
        "task_6",
        DIFFERENCE,
        """
        - [0.025, 0.975]
        + [0.05, 0.95]
        """,
        "low, high: the end|middle 90",
    ),
    Mutant(
        "ninety-eight percent",
        "task_6",
        DIFFERENCE,
        """
        - [0.025, 0.975]
        + [0.01, 0.99]
        """,
        "times as wide",
    ),
    Mutant(
        "together called better",
        "task_6",
        VERDICTS,
        """
        - "undecided"
        + "better"
        """,
        "you say better",
    ),
    Mutant(
        "everything undecided",
        "task_6",
        VERDICTS,
        """
        - return {"number": "worse", "genres": "worse", "together": "undecided"}
        + return dict.fromkeys(["number", "genres", "together"], "undecided")
        """,
        "does not hold zero",
    ),
    # ---- task 7: in quotation marks, and inside the catalogue ----
    Mutant(
        "escaped by a backslash",
        "task_7",
        QUOTED,
        r"""
        - line.replace('"', "'")
        + line.replace('"', '\\"')
        """,
        "double quote is left inside|backslash",
    ),
    Mutant(
        "quotes left inside",
        "task_7",
        QUOTED,
        """
        - line.replace('"', "'").replace
        + line.replace
        """,
        "double quote is left",
    ),
    Mutant(
        "line breaks left",
        "task_7",
        QUOTED,
        """
        - line = " ".join(title.split())
        + line = title.strip()
        """,
        "line break is left",
    ),
    Mutant(
        "brackets left",
        "task_7",
        QUOTED,
        """
        - .replace("<", "‹").replace(">", "›")
        +
        """,
        "angle brackets are left",
    ),
    Mutant(
        "no quotes around it",
        "task_7",
        QUOTED,
        """
        - '"' + line
        + line
        - .replace(">", "›") + '"'
        + .replace(">", "›")
        """,
        "double quotes around it",
    ),
    Mutant(
        "no end",
        "task_7",
        ALLOWED,
        """
        - {title[n] if len(title) > n else end for title in fitting}
        + {title[n] for title in fitting if len(title) > n}
        """,
        "end or go on|the end alone",
    ),
    Mutant(
        "an end only where nothing follows",
        "task_7",
        ALLOWED,
        """
        - return {title[n] if len(title) > n else end for title in fitting}
        + return {title[n] for title in fitting if len(title) > n} or ({end} if fitting else set())
        """,
        "end or go on",
    ),
    Mutant(
        "anywhere in a title",
        "task_7",
        ALLOWED,
        """
        - n = len(written)
        + n = len(written)
        +     titles = [title[j:] for title in titles for j in range(len(title) if n else 1)]
        """,
        "within some",
    ),
    Mutant(
        "the last token alone",
        "task_7",
        ALLOWED,
        """
        - fitting = [list(title) for title in titles if list(title[:n]) == list(written)]
        + fitting = [title for title in titles if n == 0 or title[n - 1 : n] == written[-1:]]
        """,
        "after",
    ),
    Mutant(
        "always an end",
        "task_7",
        ALLOWED,
        """
        - return {title[n] if len(title) > n else end for title in fitting}
        + return {end} | {title[n] if len(title) > n else end for title in fitting}
        """,
        "no other|after",
    ),
]

# Right answers in another style: they lose nothing.
ALTERNATIVES = {
    DEAL: """
def deal(users, n_test, rng):
    everybody = sorted(set(users.tolist()))
    test = rng.choice(everybody, size=n_test, replace=False)
    return [one for one in everybody if one not in test], list(test)
""",
    QUESTIONS: """
def questions(items, ratings, n, rng):
    middle = len(items) // 2
    history = [i for i, r in zip(items[:middle], ratings[:middle]) if r > 3.5]
    liked = [i for i, r in zip(items[middle:], ratings[middle:]) if r > 3.5]
    disliked = [i for i, r in zip(items[middle:], ratings[middle:]) if r <= 3.5]
    n = min(n, len(liked), len(disliked))
    rng.shuffle(liked)
    rng.shuffle(disliked)
    return history, liked[:n], disliked[:n]
""",
    MAY_COUNT: """
def may_count(users, items, training, asked):
    width = max(items.max(), asked[:, 1].max()) + 1
    codes = users * width + items
    return ~np.isin(codes, asked[:, 0] * width + asked[:, 1]) & np.isin(users, training)
""",
    SHARE: """
def liked_share(items, ratings, n_items, damping):
    p = np.count_nonzero(ratings > 3) / len(ratings)
    above, below = np.full(n_items, damping * p), np.full(n_items, float(damping))
    np.add.at(above, items, ratings > 3)
    np.add.at(below, items, 1)
    return above / below
""",
    AUC: """
def auc(scores, answers):
    return roc_auc_score(answers, scores)
""",
    WITHIN: """
def within_user(scores, answers, users):
    found = []
    for one in sorted(set(users)):
        yes, no = scores[(users == one) & answers], scores[(users == one) & ~answers]
        found.append(np.mean([(a > b) + (a == b) / 2 for a in yes for b in no]))
    return found
""",
    INTERVAL: """
def auc_interval(scores, answers, users, n_boot, rng):
    people, place = np.unique(users, return_inverse=True)
    won = (scores[answers][:, None] > scores[~answers]) + 0.5 * (
        scores[answers][:, None] == scores[~answers]
    )
    found = []
    for _ in range(n_boot):
        times = np.bincount(rng.choice(len(people), len(people)), minlength=len(people))[place]
        a, b = times[answers], times[~answers]
        found.append(a @ won @ b / (a.sum() * b.sum()))
    return tuple(np.percentile(found, [2.5, 97.5]))
""",
    START: """
def start(base, rank):
    for parameter in base.parameters():
        parameter.requires_grad = False
    how = {"dtype": base.weight.dtype, "device": base.weight.device}
    A = nn.Parameter(torch.empty(rank, base.in_features, **how))
    nn.init.kaiming_uniform_(A, a=5**0.5)
    return A, nn.Parameter(torch.zeros(base.out_features, rank, **how))
""",
    CORRECTED: """
def corrected(x, base, A, B, alpha):
    change = alpha * (B @ A) / A.size(0)
    return functional.linear(x, base.weight + change, base.bias)
""",
    MERGED: """
def merged(base, A, B, alpha):
    layer = nn.Linear(base.in_features, base.out_features, base.bias is not None)
    layer.to(base.weight.dtype)
    layer.weight.data = base.weight.data + alpha * B.data @ A.data / B.shape[1]
    if base.bias is not None:
        layer.bias.data = base.bias.data.clone()
    return layer
""",
    LOG_ODDS: """
def log_odds(logits, yes, no):
    log_probs = torch.log_softmax(logits, dim=-1)
    return log_probs.select(-1, yes) - log_probs.select(-1, no)
""",
    ASK: """
def ask_after(model, prompt, questions, yes, no):
    longest = max(map(len, questions))
    padded = torch.tensor([text + [0] * (longest - len(text)) for text in questions])
    cache = model(torch.tensor(prompt)[None], use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(questions))
    logits = model(padded, past_key_values=cache).logits
    last = logits[torch.arange(len(questions)), torch.tensor([len(text) - 1 for text in questions])]
    return (last[:, yes] - last[:, no]).numpy()
""",
    PLACES: """
def question_places(lengths):
    n, first = sum(lengths), lengths[0]
    sees, places = np.zeros((n, n), dtype=bool), list(range(first))
    for i in range(first):
        sees[i, : i + 1] = True
    at = first
    for length in lengths[1:]:
        for j in range(length):
            sees[at + j, :first] = True
            sees[at + j, at : at + j + 1] = True
            places.append(first + j)
        at += length
    return sees, np.array(places)
""",
    LOSS: """
def answer_loss(logits, tokens, is_answer):
    rows, places = torch.nonzero(is_answer, as_tuple=True)
    return functional.cross_entropy(logits[rows, places - 1], tokens[rows, places])
""",
    TUNE: """
def tune(parameters, optimizer, batches, loss, validate, n_epochs):
    best, values = deepcopy([p.data for p in parameters]), [validate()]
    for _ in range(n_epochs):
        for batch in batches:
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        now = validate()
        if all(now < before for before in values):
            best = deepcopy([p.data for p in parameters])
        values.append(now)
    for p, kept in zip(parameters, best):
        p.data = kept
    return np.array(values)
""",
    STACK: """
def stack(scores, answers, users, tuned, new):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    use = [user not in set(np.asarray(tuned).tolist()) for user in users.tolist()]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(scores[use], answers[use])
    chance = model.predict_proba(new)
    return np.log(chance[:, 1] / chance[:, 0])
""",
    DIFFERENCE: """
def auc_difference(first, second, answers, users, n_boot, rng):
    def gap(rows):
        return roc_auc_score(answers[rows], first[rows]) - roc_auc_score(
            answers[rows], second[rows]
        )

    rows_of = {one: np.where(users == one)[0] for one in set(users.tolist())}
    draws = rng.choice(sorted(rows_of), size=(n_boot, len(rows_of)))
    gaps = np.sort([gap(np.hstack([rows_of[one] for one in draw])) for draw in draws])
    return gap(slice(None)), np.quantile(gaps, 0.025), np.quantile(gaps, 0.975)
""",
    VERDICTS: """
def verdicts():
    words = {}
    for name in ("number", "genres", "together"):
        _, low, high = against_share(name)
        words[name] = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return words
""",
    QUOTED: r"""
def quoted(title):
    import re

    swaps = str.maketrans({'"': "'", "<": "‹", ">": "›"})
    return '"{}"'.format(re.sub(r"\s+", " ", title.translate(swaps)).strip())
""",
    ALLOWED: """
def allowed(written, titles, end):
    found, n = set(), len(written)
    for title in titles:
        marked = [*title, end]
        if n < len(marked) and marked[:n] == [*written]:
            found.add(marked[n])
    return found
""",
}
