"""The summed negative log-likelihood of every target, batched for speed and exact whatever the batching.

The model's body reads whole sequences; the vocabulary projection runs only where a target token is predicted, in
chunks, so no [B, T, V] tensor ever exists. Padding stands on the right, where a causal model cannot see it, so no
attention mask is needed. Sums are float32 or wider whatever the model's format.

Shapes: B sequences, T tokens, D hidden width, V vocabulary, N target tokens of a batch, S targets of a batch.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch

from qaq.progress import Progress
from qaq.score.spans import Text

log = logging.getLogger(__name__)

_LOGITS_AT_ONCE = 2**25  # elements of the [chunk, V] logits: 128 MiB in float32


def nll_sums(model: Any, texts: list[Text], tokens_per_batch: int, what: str) -> list[list[float]]:
    """For each text, the summed NLL (nats) of each of its targets, in order.

    `tokens_per_batch` bounds B x T of a batch (a longer text is a batch of its own); it may not change a result
    beyond rounding.
    """
    results: list[list[float]] = [[] for _ in texts]
    pending: list[tuple[list[int], torch.Tensor]] = []
    with Progress(what, sum(len(text.tokens) for text in texts), "tok") as progress, torch.inference_mode():
        for batch in batches(texts, tokens_per_batch):
            chosen = [texts[i] for i in batch]
            pending.append((batch, _batch_sums(model, chosen)))
            progress.add(sum(len(text.tokens) for text in chosen))
        for batch, sums_S in pending:  # one transfer at the end instead of a device synchronisation per batch
            sums = iter(sums_S.tolist())
            for i in batch:
                results[i] = [next(sums) for _ in texts[i].targets]
    return results


def batches(texts: list[Text], tokens_per_batch: int) -> Iterator[list[int]]:
    """Positions of `texts`, longest first (out of memory shows at once), grouped so that B x T <= tokens_per_batch."""
    order = sorted(range(len(texts)), key=lambda i: (-len(texts[i].tokens), texts[i].id))
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(texts[batch[0]].tokens) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _batch_sums(model: Any, texts: list[Text]) -> torch.Tensor:
    """Sums of the batch's targets, text after text: float64 [S] on the model's device."""
    longest = max(len(text.tokens) for text in texts)
    ids_BT = torch.tensor([text.tokens + [0] * (longest - len(text.tokens)) for text in texts], device=model.device)
    hidden_BTD = model.get_decoder()(input_ids=ids_BT, use_cache=False).last_hidden_state
    rows, columns, owners = _positions(texts)
    rows_N, columns_N = torch.tensor(rows, device=model.device), torch.tensor(columns, device=model.device)
    owners_N = torch.tensor(owners, device=model.device)
    hidden_ND = hidden_BTD[rows_N, columns_N - 1]  # the token at column c is predicted at column c - 1
    nll_N = _token_nll(model, hidden_ND, ids_BT[rows_N, columns_N])
    sums_S = torch.zeros(sum(len(text.targets) for text in texts), dtype=torch.float64, device=model.device)
    return sums_S.index_add_(0, owners_N, nll_N.double())


def _positions(texts: list[Text]) -> tuple[list[int], list[int], list[int]]:
    rows, columns, owners, owner = [], [], [], 0
    for row, text in enumerate(texts):
        for target in text.targets:
            size = target.end - target.start
            rows += [row] * size
            columns += range(target.start, target.end)
            owners += [owner] * size
            owner += 1
    return rows, columns, owners


def _token_nll(model: Any, hidden_ND: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """NLL (nats) of each label, float32 [N]; at most `_LOGITS_AT_ONCE` logits exist at a time."""
    head = model.get_output_embeddings()
    chunk = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    parts = [
        torch.nn.functional.cross_entropy(head(hidden_CD).float(), labels_C, reduction="none")
        for hidden_CD, labels_C in zip(hidden_ND.split(chunk), labels_N.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden_ND.new_zeros(0, dtype=torch.float32)
