"""`textclf bench`: speed and memory compared with a peer, Hugging Face's BERT in torch, in one run.

Each side is a process of its own that answers requests over pipes, so only one computes at a time. `cases.py` lists
what is measured, `suite.py` measures it, `report.py` writes JSON and the table; `ours.py` and `peer.py` are the
workers.
"""
