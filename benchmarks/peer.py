"""The peer's side: Hugging Face's BERT trained by a plain torch loop on the same file.

As a careful user would write it: SDPA, fused AdamW, batches trimmed to their longest row; on a GPU also pinned batches
from two loader processes. `cases.PEER_MODES` lists the precisions, and whether torch compiles the model.
"""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import NUM_LABELS, PEER_MODES, SIZES, VOCAB_SIZE, Case
from benchmarks.synthetic import MASK_ID, PAD_ID, SEP_ID, draw_texts
from benchmarks.worker import peak_process_mb, serve

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
MASK_P, MASK_TOKEN_P, RANDOM_TOKEN_P = 0.15, 0.8, 0.1

Batch = dict[str, torch.Tensor]
Answer = dict[str, Any]


def build_model(case: Case) -> torch.nn.Module:
    """BERT of the case's size with learned positions and dropout 0.1, none on attention weights, as ours has it."""
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    size = SIZES[case.size]
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": size.embedding_dim,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "intermediate_size": size.mlp_size,
        "max_position_embeddings": case.max_length,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.0,
        "num_labels": NUM_LABELS,
        "attn_implementation": "sdpa",
    }
    model = (BertForMaskedLM if case.task == "mlm" else BertForSequenceClassification)(BertConfig(**settings))
    return torch.nn.Module.to(model, DEVICE)


def collate_mlm(rows: list[tuple[torch.Tensor, ...]]) -> Batch:
    """Trims, and masks 15% of the ordinary tokens: 80% [MASK], 10% a random token, 10% unchanged."""
    ids, mask = trimmed(rows)
    labels = ids.clone()
    chosen = torch.bernoulli(torch.full(ids.shape, MASK_P)).bool() & (ids > SEP_ID)
    labels[~chosen] = -100
    kind = torch.rand(ids.shape)
    ids[chosen & (kind < MASK_TOKEN_P)] = MASK_ID
    random = chosen & (kind >= MASK_TOKEN_P) & (kind < MASK_TOKEN_P + RANDOM_TOKEN_P)
    ids[random] = torch.randint(VOCAB_SIZE, ids.shape)[random]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def collate_cls(rows: list[tuple[torch.Tensor, ...]]) -> Batch:
    """Trims; labels [B]."""
    ids, mask = trimmed(rows)
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.stack([row[2] for row in rows])}


def trimmed(rows: list[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (1 = real, as Hugging Face has it), cut to the longest row."""
    ids, padding = torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])
    longest = int((~padding).sum(1).max())
    return ids[:, :longest], (~padding[:, :longest]).long()


def loader(case: Case, path: Path, *, shuffle: bool) -> DataLoader:
    """Batches of a file."""
    with torch.serialization.safe_globals([TensorDataset]):
        data = torch.load(path, weights_only=True)
    collate = collate_mlm if case.task == "mlm" else collate_cls
    workers: dict[str, Any] = {"num_workers": 2, "pin_memory": True, "persistent_workers": True} if ON_GPU else {}
    return DataLoader(data, batch_size=case.batch_size, shuffle=shuffle, collate_fn=collate, **workers)


def on_device(batch: Batch) -> Batch:
    return {name: tensor.to(DEVICE, non_blocking=True) for name, tensor in batch.items()}


def real_tokens(batch: Batch) -> int:
    return int((batch["input_ids"] != PAD_ID).sum())


class Session:
    """One case, from its data to the model after the latest step.

    Attributes:
      started: the arguments of the latest `start`; None before that, and after `clear`.
    """

    started: tuple[Answer, str, str] | None = None

    def start(self, case: Answer, folder: str, mode: str) -> Answer:
        """Loads data and builds the model, unless that is done; `mode` is a key of `PEER_MODES`."""
        if self.started == (case, folder, mode):
            return {}
        self.clear()
        torch.manual_seed(0)
        self.case, self.folder, self.mode = Case(**case), Path(folder), PEER_MODES[mode]
        self.model = build_model(self.case).train()
        self.forward = torch.compile(self.model) if self.mode.compiled else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        self.train = loader(self.case, self.folder / "train.pt", shuffle=True)
        self.val = loader(self.case, self.folder / "val.pt", shuffle=False)
        self.batches = self.endless()
        if self.case.measure == "prediction":
            from transformers import BertTokenizer

            self.tokenizer = BertTokenizer(vocab=str(self.folder / "vocab" / "vocab.txt"))
            self.texts, self.tokens = draw_texts(self.case)
        self.started = case, folder, mode
        return {}

    def clear(self) -> Answer:
        """Frees what the case before held, its peak of memory included, as far as a process can."""
        was_compiled = "mode" in vars(self) and self.mode.compiled
        vars(self).clear()  # the loaders' processes end with them
        if was_compiled:
            torch.compiler.reset()
        gc.collect()
        if ON_GPU:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return {}

    def autocast(self) -> torch.autocast:
        """The precision of the mode, as a context."""
        return torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.mode.autocast)

    def endless(self) -> Iterator[Batch]:
        while True:
            yield from self.train

    def take(self, count: int) -> Answer:
        """Does what the case measures `count` times; answers seconds and real tokens."""
        before = time.perf_counter()
        tokens = getattr(self, self.case.measure)(count)
        if ON_GPU:
            torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - before, "tokens": tokens}

    def loader(self, count: int) -> int:
        return sum(real_tokens(next(self.batches)) for _ in range(count))

    def training(self, count: int) -> int:
        tokens = 0
        for _ in range(count):
            batch = next(self.batches)
            tokens += real_tokens(batch)
            self.step(batch)
        return tokens

    def step(self, batch: Batch) -> None:
        """One update."""
        with self.autocast():
            loss = self.forward(**on_device(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def evaluation(self, count: int) -> int:
        tokens = 0
        self.model.eval()
        for _ in range(count):
            loss = hits = torch.zeros((), device=DEVICE)
            for batch in self.val:
                tokens += real_tokens(batch)
                moved = on_device(batch)
                with torch.inference_mode(), self.autocast():
                    output = self.forward(**moved)
                loss = loss + output.loss
                hits = hits + (output.logits.argmax(-1) == moved["labels"]).sum()
            _ = float(loss), float(hits)
        self.model.train()
        return tokens

    def prediction(self, count: int) -> int:
        self.model.eval()
        for _ in range(count):
            for i in range(0, len(self.texts), self.case.batch_size):
                part = self.texts[i : i + self.case.batch_size]
                limits: dict[str, Any] = {"truncation": True, "max_length": self.case.max_length, "padding": True}
                encoded = self.tokenizer(part, return_tensors="pt", **limits)
                with torch.inference_mode(), self.autocast():
                    self.forward(**on_device(dict(encoded))).logits.float().softmax(-1).cpu()
        return count * self.tokens

    def epoch(self, case: Answer, folder: str, mode: str) -> Answer:
        """Everything from the data to the checkpoint after one epoch; answers seconds and real tokens."""
        before = time.perf_counter()
        self.start(case, folder, mode)
        tokens = 0
        for batch in self.train:
            tokens += real_tokens(batch)
            self.step(batch)
        self.evaluation(1)
        checkpoint = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(checkpoint, self.folder / "peer.pt")
        return {"seconds": time.perf_counter() - before, "tokens": tokens}


def memory() -> Answer:
    """Answers the most memory held so far: of the device on a GPU, of the process elsewhere."""
    return {"peak_mb": torch.cuda.max_memory_allocated() / 1e6 if ON_GPU else peak_process_mb()}


if __name__ == "__main__":
    session = Session()
    handlers = (session.start, session.take, session.epoch, session.clear, memory)
    serve({handler.__name__: handler for handler in handlers})
