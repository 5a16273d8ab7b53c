"""`textclf bench`: speed and memory beside a peer, Hugging Face's BERT in torch, in one interleaved run.

Each side works in a process of its own that answers requests over pipes, so only one computes at a time. `cases.py`
says what is measured, `suite.py` measures, `report.py` writes JSON and the table; `ours.py` and `peer.py` are the
workers.
"""
