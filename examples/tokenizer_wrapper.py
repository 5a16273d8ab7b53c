"""A tokenizer of your own: one token a character. Copy this file, and name the copy in `tokenizer.wrapper_path`.

A run calls `load` with `tokenizer.vocab_dir`, then `mask_input_for_mlm` for each batch of pretraining, and `encode` for
the texts of `textclf predict`. docs/how-to/tokenizer.md has the rules.
"""

from pathlib import Path

import torch

PAD, UNK, CLS, SEP, MASK = range(5)
IGNORED = -100  # the label of tokens that are not predicted


class CharacterTokenizer:
    """Characters of `vocab.txt`, which has the five special tokens first, then one character on each line."""

    pad_id = PAD
    special_ids = (PAD, UNK, CLS, SEP, MASK)  # never predicted

    def load(self, vocab_dir: str) -> None:
        lines = (Path(vocab_dir) / "vocab.txt").read_text(encoding="utf-8").split("\n")
        self.ids = {character: i for i, character in enumerate(lines) if character}
        self.vocab_size = len(self.ids)

    def encode(self, texts: list[str], max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives input_ids [N, max_length] and attention_mask [N, max_length], which is True at padding."""
        rows = [[CLS, *(self.ids.get(c, UNK) for c in text[: max_length - 2]), SEP] for text in texts]
        ids = torch.tensor([row + [PAD] * (max_length - len(row)) for row in rows])
        return ids, ids == PAD

    def mask_input_for_mlm(
        self, input_ids: torch.Tensor, mask_p: float, mask_token_p: float, random_token_p: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives masked_ids and labels [B, L]: of the chosen tokens some become [MASK], some another character."""
        chosen = (torch.rand(input_ids.shape) < mask_p) & (input_ids > MASK)
        fate = torch.rand(input_ids.shape)
        masked_ids = torch.where(chosen & (fate < mask_token_p), MASK, input_ids)
        is_random = chosen & (fate >= mask_token_p) & (fate < mask_token_p + random_token_p)
        masked_ids = torch.where(is_random, torch.randint(MASK + 1, self.vocab_size, input_ids.shape), masked_ids)
        return masked_ids, torch.where(chosen, input_ids, IGNORED)
