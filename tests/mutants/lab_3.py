"""Plausible wrong answers to lab 3. Each loses points in its own task, and in no other."""

from mutants.in_process import Mutant

# Wrong answers that nbgrader grades too.
CONFIRMED = ("targets not shifted", "the state at the padding")

ORDER, CUT, BATCH = "answer_order", "answer_cut", "answer_batch"
LAYER = "answer_layer"
NETWORK, LOGITS, LOSS = "answer_network", "answer_logits", "answer_loss"
FIT = "answer_fit"
PART, SCORES, PLACES, NDCG = "answer_part", "answer_scores", "answer_places", "answer_ndcg"
CHANCE, PAIRED, VERDICTS = "answer_chance", "answer_paired", "answer_verdicts"

MUTANTS = [
    # ---- task 1: histories, windows, targets ----
    Mutant(
        "newest first",
        "task_1",
        ORDER,
        """
        - rng.random(len(items)), times, users
        + rng.random(len(items)), -times, users
        """,
        "newest first",
    ),
    Mutant(
        "films of one second by number",
        "task_1",
        ORDER,
        """
        - rng.random(len(items))
        + items
        """,
        "by number or as in the file",
    ),
    Mutant(
        "films of one second as in the file",
        "task_1",
        ORDER,
        """
        - (rng.random(len(items)), times, users)
        + (times, users)
        """,
        "by number or as in the file",
    ),
    Mutant(
        "time forgotten",
        "task_1",
        ORDER,
        """
        - (rng.random(len(items)), times, users)
        + (items, users)
        """,
        "sorted by number, not by time",
    ),
    Mutant(
        "the file's order",
        "task_1",
        ORDER,
        """
        - np.lexsort((rng.random(len(items)), times, users))
        + np.argsort(users, kind="stable")
        """,
        "stand as in the file: sort by time",
    ),
    Mutant(
        "a generator of its own",
        "task_1",
        ORDER,
        """
        - rng.random(len(items))
        + np.random.default_rng().random(len(items))
        """,
        "draw from rng alone",
    ),
    Mutant(
        "users without events dropped",
        "task_1",
        ORDER,
        """
        - np.bincount(users, minlength=n_users)
        + np.unique(users, return_counts=True)[1]
        """,
        "also of users without events",
    ),
    Mutant(
        "windows that share no film",
        "task_1",
        CUT,
        """
        - range(len(history), 1, -length)
        + range(len(history), 1, -length - 1)
        """,
        "share no film",
    ),
    Mutant(
        "windows of length films",
        "task_1",
        CUT,
        """
        - end - length - 1)
        + end - length)
        """,
        "take length . 1",
    ),
    Mutant(
        "cut from the start",
        "task_1",
        CUT,
        """
        - ends = range(len(history), 1, -length)
        + return [history[i : i + length + 1] for i in range(0, len(history) - 1, length)]
        +     ends = range(len(history), 1, -length)
        """,
        "cut from the end",
    ),
    Mutant(
        "the last window only",
        "task_1",
        CUT,
        """
        - for end in ends][::-1]
        + for end in list(ends)[:1]]
        """,
        "older films are lost",
    ),
    Mutant(
        "a window at each film",
        "task_1",
        CUT,
        """
        - range(len(history), 1, -length)
        + range(len(history), 1, -1)
        """,
        "each film but the first is a target once",
    ),
    Mutant(
        "windows of one film",
        "task_1",
        CUT,
        """
        - range(len(history), 1, -length)
        + range(len(history), 0, -length)
        """,
        "a window of one film has no target",
    ),
    Mutant(
        "targets not shifted",
        "task_1",
        BATCH,
        """
        - rows[:, 1:]
        + rows[:, :-1]
        """,
        "not shifted",
    ),
    Mutant(
        "targets look back",
        "task_1",
        BATCH,
        """
        - return rows[:, :-1], rows[:, 1:]
        + back = torch.full((len(rows), 1), pad)
        +     return rows[:, :-1], torch.cat([back, rows[:, :-2]], dim=1)
        """,
        "look back",
    ),
    Mutant(
        "reads and targets swapped",
        "task_1",
        BATCH,
        """
        - rows[:, :-1], rows[:, 1:]
        + rows[:, 1:], rows[:, :-1]
        """,
        "not shifted",
    ),
    Mutant(
        "padding on the left",
        "task_1",
        BATCH,
        """
        - row[: len(window)]
        + row[len(row) - len(window) :]
        """,
        "fill on the right",
    ),
    Mutant(
        "filled with film 0",
        "task_1",
        BATCH,
        """
        - max(map(len, windows))), pad)
        + max(map(len, windows))), 0)
        """,
        "0 is a film",
    ),
    # ---- task 2: the layer ----
    Mutant(
        "no causal mask",
        "task_2",
        LAYER,
        """
        - self.attention_norm(x), is_causal=True
        + self.attention_norm(x)
        """,
        "the future leaks",
    ),
    Mutant(
        "the mask the other way round",
        "task_2",
        LAYER,
        """
        - self.attention_norm(x), is_causal=True
        + self.attention_norm(x), mask=torch.ones(x.shape[1], x.shape[1]).bool().triu()[None]
        """,
        "other way round",
    ),
    Mutant(
        "batch second",
        "task_2",
        LAYER,
        """
        - self.attention(self.attention_norm(x), is_causal=True)
        + self.attention(self.attention_norm(x.transpose(0, 1)), is_causal=True).transpose(0, 1)
        """,
        "batch first",
    ),
    Mutant(
        "post-norm",
        "task_2",
        LAYER,
        """
        - x = x + self.dropout(self.attention(self.attention_norm(x), is_causal=True))
        + x = self.attention_norm(x + self.dropout(self.attention(x, is_causal=True)))
        - return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        + return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        """,
        "norm on the wrong side",
    ),
    Mutant(
        "norm after the sub-layer",
        "task_2",
        LAYER,
        """
        - self.attention(self.attention_norm(x), is_causal=True)
        + self.attention_norm(self.attention(x, is_causal=True))
        - self.feed_forward(self.feed_forward_norm(x))
        + self.feed_forward_norm(self.feed_forward(x))
        """,
        "normalises what attention gives",
    ),
    Mutant(
        "no residual around the attention",
        "task_2",
        LAYER,
        """
        - x = x + self.dropout(
        + x = self.dropout(
        """,
        "residual forgotten around the attention",
    ),
    Mutant(
        "no residual around the feed-forward network",
        "task_2",
        LAYER,
        """
        - return x + self.dropout(
        + return self.dropout(
        """,
        "residual forgotten around the feed-forward",
    ),
    Mutant(
        "the residual carries the normalised x",
        "task_2",
        LAYER,
        """
        - x = x + self.dropout(self.attention(self.attention_norm(x), is_causal=True))
        + x = self.attention_norm(x)
        +         x = x + self.dropout(self.attention(x, is_causal=True))
        - return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        + x = self.feed_forward_norm(x)
        +         return x + self.dropout(self.feed_forward(x))
        """,
        "add to the normalised x",
    ),
    Mutant(
        "feed-forward reads the old x",
        "task_2",
        LAYER,
        """
        - x = x + self.dropout(self.attention(
        + y = x + self.dropout(self.attention(
        - return x + self.dropout(
        + return y + self.dropout(
        """,
        "reads x as it came",
    ),
    Mutant(
        "one norm twice",
        "task_2",
        LAYER,
        """
        - self.feed_forward_norm(x)
        + self.attention_norm(x)
        """,
        "one norm serves twice",
    ),
    Mutant(
        "no norm",
        "task_2",
        LAYER,
        """
        - self.attention_norm(x)
        + x
        - self.feed_forward_norm(x)
        + x
        """,
        "nothing is normalised",
    ),
    Mutant(
        "dropout forgotten",
        "task_2",
        LAYER,
        """
        - x + self.dropout(self.attention(self.attention_norm(x), is_causal=True))
        + x + self.attention(self.attention_norm(x), is_causal=True)
        - x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        + x + self.feed_forward(self.feed_forward_norm(x))
        """,
        "nothing is dropped",
    ),
    Mutant(
        "the residual dropped too",
        "task_2",
        LAYER,
        """
        - x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        + self.dropout(x + self.feed_forward(self.feed_forward_norm(x)))
        """,
        "you drop the sum",
    ),
    Mutant(
        "x changed in place",
        "task_2",
        LAYER,
        """
        - x = x + self.dropout(self.attention(
        + x += self.dropout(self.attention(
        """,
        "changes the x that it was given",
    ),
    Mutant(
        "dropout in evaluation too",
        "task_2",
        LAYER,
        """
        - x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        + x + F.dropout(self.feed_forward(self.feed_forward_norm(x)), self.dropout.p)
        """,
        "In evaluation nothing is dropped",
    ),
    # ---- task 3: the network ----
    Mutant(
        "positions forgotten",
        "task_3",
        NETWORK,
        """
        - self.films(items) + self.positions(place)
        + self.films(items)
        """,
        "positions forgotten",
    ),
    Mutant(
        "as many places as windows",
        "task_3",
        NETWORK,
        """
        - torch.arange(items.shape[1])
        + torch.arange(len(items))
        """,
        "must match the size",
    ),
    Mutant(
        "a position for each window",
        "task_3",
        NETWORK,
        """
        - torch.arange(items.shape[1])
        + torch.arange(items.shape[0])[:, None]
        """,
        "each window got one position",
    ),
    Mutant(
        "positions from one",
        "task_3",
        NETWORK,
        """
        - torch.arange(items.shape[1])
        + torch.arange(1, items.shape[1] + 1)
        """,
        "count from 0, yours from 1",
    ),
    Mutant(
        "positions after the layers",
        "task_3",
        NETWORK,
        """
        - self.layers(self.dropout(self.films(items) + self.positions(place)))
        + self.layers(self.dropout(self.films(items))) + self.positions(place)
        """,
        "before the layers, not after",
    ),
    Mutant(
        "layers forgotten",
        "task_3",
        NETWORK,
        """
        - self.layers(self.dropout(self.films(items) + self.positions(place)))
        + self.dropout(self.films(items) + self.positions(place))
        """,
        "self.layers is never called",
    ),
    Mutant(
        "dropout of the films alone",
        "task_3",
        NETWORK,
        """
        - self.dropout(self.films(items) + self.positions(place))
        + self.dropout(self.films(items)) + self.positions(place)
        """,
        "drop the sum of film and position",
    ),
    Mutant(
        "the padding scored",
        "task_3",
        LOGITS,
        """
        - states @ vectors[:-1].T + bias
        + states @ vectors.T + F.pad(bias, (0, 1))
        """,
        "padding is scored like a film",
    ),
    Mutant(
        "all rows of the table",
        "task_3",
        LOGITS,
        """
        - vectors[:-1].T
        + vectors.T
        """,
        "five rows, four biases",
    ),
    Mutant(
        "film 0 taken for padding",
        "task_3",
        LOGITS,
        """
        - vectors[:-1].T
        + vectors[1:].T
        """,
        "the wrong row is left out",
    ),
    Mutant(
        "no bias",
        "task_3",
        LOGITS,
        """
        - vectors[:-1].T + bias
        + vectors[:-1].T
        """,
        "the bias is missing",
    ),
    Mutant(
        "softmax before the loss",
        "task_3",
        LOGITS,
        """
        - states @ vectors[:-1].T + bias
        + (states @ vectors[:-1].T + bias).softmax(dim=-1)
        """,
        "takes logits",
    ),
    Mutant(
        "softmax twice",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + F.cross_entropy(logits[real].softmax(-1), targets[real])
        """,
        "softmax twice",
    ),
    Mutant(
        "padding counted in the loss",
        "task_3",
        LOSS,
        """
        - return F.cross_entropy(logits[real], targets[real])
        + each = F.cross_entropy(logits.transpose(1, 2), targets * real, reduction="none")
        +     return (each * real).mean()
        """,
        "padding is counted",
    ),
    Mutant(
        "padding as a target",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        """,
        "padding is no film",
    ),
    Mutant(
        "places taken for films",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + F.cross_entropy(logits, targets)
        """,
        "films are the last axis",
    ),
    Mutant(
        "padding taken for film 0",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + F.cross_entropy(logits.flatten(0, 1), (targets * real).flatten())
        """,
        "Is padding taken for a film",
    ),
    Mutant(
        "the sum of the losses",
        "task_3",
        LOSS,
        """
        - targets[real])
        + targets[real], reduction="sum")
        """,
        "this is the sum",
    ),
    Mutant(
        "softmax over the wrong axis",
        "task_3",
        LOSS,
        """
        - return F.cross_entropy(logits[real], targets[real])
        + shares = logits.softmax(dim=1)[real]
        +     return -shares[torch.arange(len(shares)), targets[real]].log().mean()
        """,
        "softmax over the wrong axis",
    ),
    Mutant(
        "each window alike",
        "task_3",
        LOSS,
        """
        - return F.cross_entropy(logits[real], targets[real])
        + rows = [F.cross_entropy(a[r], t[r]) for a, t, r in zip(logits, targets, real)]
        +     return torch.stack(rows).mean()
        """,
        "each window counts alike",
    ),
    Mutant(
        "softmax first, logarithm after",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + F.nll_loss(logits[real].softmax(dim=-1).log(), targets[real])
        """,
        "a sure mistake",
    ),
    Mutant(
        "no gradient",
        "task_3",
        LOSS,
        """
        - F.cross_entropy(logits[real], targets[real])
        + torch.tensor(F.cross_entropy(logits[real], targets[real]).item())
        """,
        "did you leave torch",
    ),
    # ---- task 4: the training loop ----
    Mutant(
        "gradients add up",
        "task_4",
        FIT,
        """
        -             optimizer.zero_grad()
        """,
        "where is zero_grad",
    ),
    Mutant(
        "no step",
        "task_4",
        FIT,
        """
        -             optimizer.step()
        """,
        "where is optimizer.step",
    ),
    Mutant(
        "a new optimizer each epoch",
        "task_4",
        FIT,
        """
        - network.train()
        + network.train()
        +         optimizer = torch.optim.Adam(network.parameters(), lr=lr)
        """,
        "starts anew",
    ),
    Mutant(
        "one batch an epoch",
        "task_4",
        FIT,
        """
        - optimizer.step()
        + optimizer.step()
        +             break
        """,
        "one batch an epoch",
    ),
    Mutant(
        "the same batches each epoch",
        "task_4",
        FIT,
        """
        - in batches(epoch)
        + in batches(0)
        """,
        "pass the epoch's number",
    ),
    Mutant(
        "judged in training mode",
        "task_4",
        FIT,
        """
        -         network.eval()
        """,
        "dropout still drops",
    ),
    Mutant(
        "training mode once",
        "task_4",
        FIT,
        """
        - network.train()
        + _ = epoch or network.train()
        """,
        "back to train",
    ),
    Mutant(
        "the last epoch kept",
        "task_4",
        FIT,
        """
        -     network.load_state_dict(best)
        """,
        "last epoch's weights",
    ),
    Mutant(
        "a reference in place of a copy",
        "task_4",
        FIT,
        """
        - copy.deepcopy(network.state_dict())
        + network.state_dict()
        """,
        "state_dict\\(\\) alone follows",
    ),
    Mutant(
        "a shallow copy",
        "task_4",
        FIT,
        """
        - copy.deepcopy(network.state_dict())
        + dict(network.state_dict())
        """,
        "state_dict\\(\\) alone follows",
    ),
    Mutant(
        "the lowest score is best",
        "task_4",
        FIT,
        """
        - score > max(curve)
        + score < min(curve)
        """,
        "higher is better",
    ),
    Mutant(
        "better than the epoch before",
        "task_4",
        FIT,
        """
        - score > max(curve)
        + score > curve[-1]
        """,
        "compare with the best so far",
    ),
    Mutant(
        "a first best of zero",
        "task_4",
        FIT,
        """
        - curve, best = [], None
        + curve, best = [], copy.deepcopy(network.state_dict())
        - not curve or score > max(curve)
        + score > max(curve, default=0) and score > 0
        """,
        "is your first best 0",
    ),
    Mutant(
        "the epoch chosen on the test",
        "task_4",
        FIT,
        """
        - score = validate()
        + score, chosen = validate(), test()
        - if not curve or score > max(curve):
        + if not curve or chosen > top:
        +             top = chosen
        - return curve, test()
        + return curve, top
        """,
        "chosen on the test part",
    ),
    Mutant(
        "tested before the best is back",
        "task_4",
        FIT,
        """
        - network.load_state_dict(best)
        + tested = test()
        +     network.load_state_dict(best)
        - return curve, test()
        + return curve, tested
        """,
        "the test sees the last epoch",
    ),
    # ---- task 5: places ----
    Mutant(
        "the validation film left out",
        "task_5",
        PART,
        """
        - return [np.append(history, film) for history, film in zip(train, validation)], test
        + return train, test
        """,
        "left out of the history at test time",
    ),
    Mutant(
        "the test film known",
        "task_5",
        PART,
        """
        - for history, film in zip(train, validation)
        + for history, film in zip(train, test)
        """,
        "test film stands in the history",
    ),
    Mutant(
        "validation asks for the test film",
        "task_5",
        PART,
        """
        - return train, validation
        + return train, test
        """,
        "chosen on it",
    ),
    Mutant(
        "the validation film known while validating",
        "task_5",
        PART,
        """
        - return train, validation
        + return [np.append(h, film) for h, film in zip(train, validation)], validation
        """,
        "history that is to predict it",
    ),
    Mutant(
        "the validation film first",
        "task_5",
        PART,
        """
        - np.append(history, film)
        + np.append(film, history)
        """,
        "comes last",
    ),
    Mutant(
        "the state at the padding",
        "task_5",
        SCORES,
        """
        - states[torch.arange(len(rows)), last]
        + states[:, -1]
        """,
        "the state at the padding",
    ),
    Mutant(
        "one place too early",
        "task_5",
        SCORES,
        """
        - len(films) - 1 for
        + len(films) - 2 for
        """,
        "one place too early",
    ),
    Mutant(
        "the first films read",
        "task_5",
        SCORES,
        """
        - history[-length:]
        + history[:length]
        """,
        "the first films are read",
    ),
    Mutant(
        "all films read",
        "task_5",
        SCORES,
        """
        - history[-length:]
        + history
        """,
        "the last length only",
    ),
    Mutant(
        "padding first",
        "task_5",
        SCORES,
        """
        - row[: len(films)] = films
        + row[len(row) - len(films) :] = films
        - states[torch.arange(len(rows)), last]
        + states[:, -1]
        """,
        "padding comes first",
    ),
    Mutant(
        "dropout on while scoring",
        "task_5",
        SCORES,
        """
        - network.eval()
        + network.train()
        """,
        "in training mode, where dropout drops",
    ),
    Mutant(
        "the gradient kept",
        "task_5",
        SCORES,
        """
        - with torch.no_grad():
        + if True:
        -  last]).numpy()
        +  last])
        """,
        "under torch.no_grad",
    ),
    Mutant(
        "seen films ranked",
        "task_5",
        PLACES,
        """
        - row[history] = -np.inf
        + pass
        """,
        "training items are ranked",
    ),
    Mutant(
        "seen films at zero",
        "task_5",
        PLACES,
        """
        - row[history] = -np.inf
        + row[history] = 0
        """,
        "scores may be negative",
    ),
    Mutant(
        "places from zero",
        "task_5",
        PLACES,
        """
        - return 1 + better
        + return better
        """,
        "yours at 0",
    ),
    Mutant(
        "low is good",
        "task_5",
        PLACES,
        """
        - row[history] = -np.inf
        + row[history] = np.inf
        - scores > mine
        + scores < mine
        """,
        "worst film stands first",
    ),
    Mutant(
        "first among equals",
        "task_5",
        PLACES,
        """
        - better + rng.integers(tied + 1)
        + better
        """,
        "always first",
    ),
    Mutant(
        "last among equals",
        "task_5",
        PLACES,
        """
        - rng.integers(tied + 1)
        + tied
        """,
        "always last",
    ),
    Mutant(
        "ties by film number",
        "task_5",
        PLACES,
        """
        - return 1 + better + rng.integers(tied + 1)
        + order = np.argsort(-scores, axis=1, kind="stable")
        +     return 1 + (order == np.asarray(wanted)[:, None]).argmax(axis=1)
        """,
        "ties by film number",
    ),
    Mutant(
        "a draw between first and last",
        "task_5",
        PLACES,
        """
        - rng.integers(tied + 1)
        + tied * rng.integers(2, size=len(tied))
        """,
        "each place comes as often",
    ),
    Mutant(
        "noise to draw among equals",
        "task_5",
        PLACES,
        """
        - return 1 + better + rng.integers(tied + 1)
        + noisy = scores + 1e-6 * rng.random(scores.shape)
        +     return 1 + (noisy > noisy[np.arange(len(scores)), wanted][:, None]).sum(axis=1)
        """,
        "is noise added",
    ),
    Mutant(
        "the scores changed",
        "task_5",
        PLACES,
        """
        - scores = np.array(scores, dtype=float)
        + scores = np.asarray(scores, dtype=float)
        """,
        "changes the scores",
    ),
    Mutant(
        "the logarithm of the place",
        "task_5",
        NDCG,
        """
        - 1 / np.log2(1 + place)
        + 1 / np.log2(np.maximum(place, 1 + 1e-300))
        """,
        "logarithm of 1 is 0",
    ),
    Mutant(
        "no cut",
        "task_5",
        NDCG,
        """
        - np.where(place <= k, 1 / np.log2(1 + place), 0.0)
        + 1 / np.log2(1 + place)
        """,
        "the cut at k has no effect",
    ),
    Mutant(
        "hits",
        "task_5",
        NDCG,
        """
        - 1 / np.log2(1 + place)
        + 1.0
        """,
        "hit rate",
    ),
    Mutant(
        "natural logarithm",
        "task_5",
        NDCG,
        """
        - np.log2
        + np.log
        """,
        "natural logarithm",
    ),
    # ---- task 6: the verdict ----
    Mutant(
        "chance of a hit",
        "task_6",
        CHANCE,
        """
        - gains[np.minimum(n_candidates, k) - 1] / n_candidates
        + np.minimum(n_candidates, k) / n_candidates
        """,
        "chance of a hit",
    ),
    Mutant(
        "fewer than k candidates forgotten",
        "task_6",
        CHANCE,
        """
        - gains[np.minimum(n_candidates, k) - 1]
        + gains[k - 1]
        """,
        "stop at n",
    ),
    Mutant(
        "averaged twice",
        "task_6",
        CHANCE,
        """
        - gains[np.minimum(n_candidates, k) - 1] / n_candidates
        + gains[np.minimum(n_candidates, k) - 1] / np.minimum(n_candidates, k) / n_candidates
        """,
        "over n again",
    ),
    Mutant(
        "draws counted as users",
        "task_6",
        PAIRED,
        """
        - (np.asarray(a) - np.asarray(b)).mean(axis=0)
        + (np.asarray(a) - np.asarray(b)).ravel()
        """,
        "draws are counted as users",
    ),
    Mutant(
        "an interval over draws",
        "task_6",
        PAIRED,
        """
        - (np.asarray(a) - np.asarray(b)).mean(axis=0)
        + (np.asarray(a) - np.asarray(b)).mean(axis=1)
        """,
        "over draws",
    ),
    Mutant(
        "unpaired",
        "task_6",
        PAIRED,
        """
        - difference.std(ddof=1) / np.sqrt(len(difference))
        + np.hypot(np.std(a), np.std(b)) / np.sqrt(len(difference))
        """,
        "unpaired",
    ),
    Mutant(
        "the spread of users",
        "task_6",
        PAIRED,
        """
        - difference.std(ddof=1) / np.sqrt(len(difference))
        + difference.std(ddof=1)
        """,
        "root of the number of users",
    ),
    Mutant(
        "one standard error",
        "task_6",
        PAIRED,
        """
        - mean, mean - 1.96 * error, mean + 1.96 * error
        + mean, mean - error, mean + error
        """,
        "one standard error",
    ),
    Mutant(
        "b minus a",
        "task_6",
        PAIRED,
        """
        - np.asarray(a) - np.asarray(b)
        + np.asarray(b) - np.asarray(a)
        """,
        "is it a minus b",
    ),
    Mutant(
        "no chance asked for",
        "task_6",
        VERDICTS,
        """
        - ("chance", "popularity")
        + ("popularity",)
        """,
        "verdicts without chance",
    ),
    Mutant(
        "a missing row not looked for",
        "task_6",
        VERDICTS,
        """
        -         if needed not in results:
        -             raise ValueError(f"no row {needed!r}: without it the verdict has no scale")
        +         paired_interval(results[needed], results[reference])
        """,
        "look first, and raise ValueError",
    ),
    Mutant(
        "undecided called level",
        "task_6",
        VERDICTS,
        """
        - rest = "level" if level else "undecided"
        + rest = "level"
        """,
        "no difference found is not no difference",
    ),
    Mutant(
        "level never said",
        "task_6",
        VERDICTS,
        """
        - rest = "level" if level else "undecided"
        + rest = "undecided"
        """,
        "lies within the margin",
    ),
    Mutant(
        "the margin before the side",
        "task_6",
        VERDICTS,
        """
        - "better" if low > 0 else "worse" if high < 0 else rest
        + "level" if level else "better" if low > 0 else "worse" if high < 0 else rest
        """,
        "Ask for the side first",
    ),
    Mutant(
        "the mean decides",
        "task_6",
        VERDICTS,
        """
        - _, low, high =
        + low = high = np.mean(results[name]) - np.mean(results[reference]); _ =
        """,
        "a mean that differs is no finding",
    ),
    Mutant(
        "the sides turned",
        "task_6",
        VERDICTS,
        """
        - "better" if low > 0 else "worse" if high < 0
        + "worse" if low > 0 else "better" if high < 0
        """,
        "look at the sign",
    ),
    Mutant(
        "one end within the margin",
        "task_6",
        VERDICTS,
        """
        - -margin < low and high < margin
        + -margin < low or high < margin
        """,
        "undecided, not level",
    ),
]

# Right answers in another style: they lose nothing.
ALTERNATIVES = {
    ORDER: """
def in_order(users, items, times, n_users, rng):
    histories = []
    for user in range(n_users):
        mine = rng.permutation(np.flatnonzero(users == user))
        mine = mine[np.argsort(times[mine], kind="stable")]
        histories.append(items[mine])
    return histories
""",
    CUT: """
def cut(history, length):
    windows = []
    end = len(history)
    while end >= 2:
        start = end - length - 1
        windows.insert(0, history[start if start > 0 else 0 : end])
        end -= length
    return windows
""",
    BATCH: """
def make_batch(windows, pad):
    from torch.nn.utils.rnn import pad_sequence
    reads = [torch.as_tensor(np.asarray(w[:-1])) for w in windows]
    targets = [torch.as_tensor(np.asarray(w[1:])) for w in windows]
    return tuple(pad_sequence(part, True, pad) for part in (reads, targets))
""",
    LAYER: """
class CausalLayer(torch.nn.Module):
    def __init__(self, d_model, n_heads, d_inner, dropout=0.0):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.attention_norm = torch.nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_inner)
        self.feed_forward_norm = torch.nn.LayerNorm(d_model)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x):
        n = x.size(1)
        sees = torch.tril(torch.ones(n, n, dtype=torch.bool)).unsqueeze(0)
        for apply, norm in (
            (lambda y: self.attention(y, mask=sees), self.attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ):
            x = x + F.dropout(apply(norm(x)), self.dropout.p, self.training)
        return x
""",
    NETWORK: """
class Network(torch.nn.Module):
    def __init__(self, n_items, max_length, d_model, layers, dropout=0.0):
        super().__init__()
        self.films = torch.nn.Embedding(n_items + 1, d_model, padding_idx=n_items)
        self.positions = torch.nn.Embedding(max_length, d_model)
        self.bias = torch.nn.Parameter(torch.zeros(n_items))
        self.dropout = torch.nn.Dropout(dropout)
        self.layers = layers
        with torch.no_grad():
            self.films.weight *= 0.02
            self.positions.weight *= 0.02

    def forward(self, items):
        x = self.films.weight[items] + self.positions.weight[: items.size(1)].unsqueeze(0)
        x = self.dropout(x)
        return self.layers(x)

    def logits(self, states):
        return film_logits(states, self.films.weight, self.bias)
""",
    LOGITS: """
def film_logits(states, vectors, bias):
    return F.linear(states, vectors[: len(bias)], bias)
""",
    LOSS: """
def next_film_loss(logits, targets, pad):
    shares = torch.log_softmax(logits, dim=-1)
    real = targets.ne(pad)
    inside = targets.masked_fill(~real, 0)
    chosen = shares.gather(-1, inside.unsqueeze(-1)).squeeze(-1)
    return -(chosen * real).sum() / real.sum()
""",
    FIT: """
def fit(network, batches, loss, validate, test, n_epochs, lr):
    adam = torch.optim.Adam(network.parameters(), lr)
    curve = []
    top, weights = -float("inf"), None
    for epoch in range(n_epochs):
        network.train(True)
        for batch in batches(epoch):
            value = loss(batch)
            for parameter in network.parameters():
                parameter.grad = None
            value.backward()
            adam.step()
        network.train(False)
        with torch.no_grad():
            curve.append(validate())
        if curve[-1] > top:
            top = curve[-1]
            weights = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    return curve, test()
""",
    PART: """
def known_and_wanted(train, validation, test, part):
    histories, wanted = [list(history) for history in train], validation
    if part == "test":
        for user, film in enumerate(validation):
            histories[user].append(film)
        wanted = test
    return [np.array(history) for history in histories], np.array(wanted)
""",
    SCORES: """
def next_scores(network, histories, length, pad):
    network.eval()
    rows = []
    with torch.inference_mode():
        for history in histories:
            films = torch.as_tensor(np.asarray(history[-length:]))[None]
            rows.append(network.logits(network(films)[0, -1]))
    return torch.stack(rows).numpy()
""",
    PLACES: """
def places(scores, histories, wanted, rng):
    result = []
    for row, history, film in zip(scores, histories, wanted):
        free = np.setdiff1d(np.arange(len(row)), history)
        free = rng.permutation(free)
        order = free[np.argsort(-row[free], kind="stable")]
        result.append(1 + list(order).index(film))
    return np.array(result)
""",
    NDCG: """
def ndcg_at(place, k):
    return (np.asarray(place) <= k) * np.log(2) / np.log1p(place)
""",
    CHANCE: """
def chance_ndcg(n_candidates, k):
    return [sum(1 / np.log2(1 + r) for r in range(1, min(k, n) + 1)) / n for n in n_candidates]
""",
    PAIRED: """
def paired_interval(a, b):
    gap = np.mean(a, axis=0) - np.mean(b, axis=0)
    draw = np.random.default_rng(0).integers(len(gap), size=(4000, len(gap)))
    means = gap[draw].mean(axis=1)
    return gap.mean(), *np.quantile(means, [0.025, 0.975])
""",
    VERDICTS: """
def verdicts(results, reference, margin):
    missing = {"chance", "popularity"} - results.keys()
    if missing:
        raise ValueError(f"without {missing} there is no verdict")
    found = {}
    for name, values in results.items():
        if name == reference:
            continue
        mean, low, high = paired_interval(values, results[reference])
        if low > 0:
            found[name] = "better"
        elif high < 0:
            found[name] = "worse"
        elif max(-low, high) < margin:
            found[name] = "level"
        else:
            found[name] = "undecided"
    return found
""",
}
