"""Masks by a user's code are the same whatever another thread does meanwhile."""

import threading
from pathlib import Path

import numpy as np
import torch

from textclf_jax.config.schema import MlmHead
from textclf_jax.tokenizer.user_wrapper import UserWrapper


class Slow:
    """Draws from torch's global generator; the first call waits in the middle until another one is about to begin."""

    vocab_size, pad_id = 60, 0

    def __init__(self):
        self.begun, self.other = threading.Event(), threading.Event()

    def mask_input_for_mlm(self, input_ids, attention_mask, mask_p):
        first = not self.begun.is_set()
        chosen = torch.rand(input_ids.shape) < mask_p
        self.begun.set()
        if first:
            self.other.wait(timeout=0.2)  # with one thread at a time in here, it waits in vain
        else:
            self.other.set()
        chosen |= torch.rand(input_ids.shape) < mask_p
        return torch.where(chosen, 4, input_ids), torch.where(chosen, input_ids, -100)


def test_two_threads_draw_the_masks_that_each_would_draw_alone():
    ids, mask, settings = np.full((4, 50), 9), np.zeros((4, 50), bool), MlmHead()
    seeds = [np.random.SeedSequence(seed) for seed in (1, 2)]
    slow = Slow()
    slow.begun.set()
    wrapper = UserWrapper(slow, Path("mine.py"), "0", Path("vocab"))
    alone = [wrapper.mask(ids, mask, settings, seed) for seed in seeds]
    slow.begun.clear()
    slow.other.clear()
    found = {}

    def first():
        found[0] = wrapper.mask(ids, mask, settings, seeds[0])

    thread = threading.Thread(target=first)
    thread.start()
    slow.begun.wait()
    found[1] = wrapper.mask(ids, mask, settings, seeds[1])
    thread.join()
    for i in (0, 1):
        for array, other in zip(found[i], alone[i], strict=True):
            np.testing.assert_array_equal(array, other)
